package issue

import (
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	cav1 "fairlead.io/fairlead/api/ca/v1"
)

// BenchmarkCSR is one request on an open TLS connection, client and server together but for the client's key and request,
// which are made before: cpu-us/op is of the whole process. "cached" has a token that is remembered, "mtls" a certificate.
func BenchmarkCSR(b *testing.B) {
	r := newRig(b, nil)
	n1, _ := r.svid(spiffeid.RequireFromString("spiffe://cluster.local/node/n1/"+uidN1), time.Hour)
	run := func(b *testing.B, client cav1.CertificateAuthorityClient, size int, bearer bool) {
		list := make([]*cav1.X509Request, size)
		for i := range list {
			list[i] = one(b, forPod(web1))
		}
		ctx := r.bearer(agent1)
		if !bearer {
			ctx = b.Context()
		}
		if _, err := client.SignX509(ctx, batch(list...)); err != nil {
			b.Fatal(err)
		}
		r.log.take(b)
		start := cpu(b)
		for b.Loop() {
			res, err := client.SignX509(ctx, batch(list...))
			if err != nil || res.GetResults()[0].GetSvid() == nil {
				b.Fatal(err, res)
			}
		}
		n := float64(b.N * size)
		b.ReportMetric(float64((cpu(b)-start).Microseconds())/n, "cpu-us/csr")
	}
	b.Run("cached", func(b *testing.B) { run(b, r.client(), 1, true) })
	b.Run("mtls", func(b *testing.B) { run(b, r.client(n1), 1, false) })
	b.Run("batch-20", func(b *testing.B) { run(b, r.client(), 20, true) })
}

func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
