package demo

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Row is one line of the result.
type Row struct {
	What     string `json:"what"`
	Request  string `json:"request"`
	Expected string `json:"expected"`
	Seen     string `json:"seen"`
	Pass     bool   `json:"pass"`
}

// show is one thing to try: it tells what it saw, and whether that is right.
type show struct {
	what, request, expected string
	try                     func(context.Context) (seen string, pass bool, err error)
}

// splitCount is how many requests the 90/10 split is counted over. splitSlack is four standard deviations of a binomial
// distribution with p = 0.1: a right split fails once in 15,000 runs.
const (
	splitCount = 1000
	splitSlack = 38
)

// shows lists what is tried, in order.
func (d *demo) shows() []show {
	web, edge, mesh := d.ports[18080], d.ports[18081], d.outbound
	return []show{
		{"host routing", "shop.example.com/", "catalog", d.backendOf(web, "shop.example.com", "/")},
		{"path routing", "shop.example.com/cart/7", "cart", d.backendOf(web, "shop.example.com", "/cart/7")},
		{"unknown host", "nobody.example.com/", "404", d.codeOf(web, "nobody.example.com", "/")},
		{"redirect", "shop.example.com/old/a", "301 to /new/a", d.redirect(web)},
		{"90/10 split, gateway", "reviews.example.com/ x1000", "90 % v1, 10 % v2", d.split(edge, "reviews.example.com")},
		{"90/10 split, mesh", "reviews.shop/ x1000", "90 % v1, 10 % v2", d.split(mesh, "reviews.shop")},
		{"header canary", "x-canary: yes, x100", "v2 every time", d.canary(edge)},
		{"retry on a failing backend", "resilience.example.com/retry", "200 at attempt 3", d.retry(edge, "/retry")},
		{"the same without retries", "resilience.example.com/no-retry", "503 at attempt 1", d.retry(edge, "/no-retry")},
		{"timeout (backend takes 2 s)", "resilience.example.com/timeout", "504 after 300 ms", d.timeout(edge)},
		{"fault: abort", "fault.example.com/abort", "418", d.codeOf(edge, "fault.example.com", "/abort")},
		{"fault: delay", "fault.example.com/delay", "200 after 250 ms", d.delay(edge)},
	}
}

func (d *demo) backendOf(port int, host, path string) func(context.Context) (string, bool, error) {
	return func(ctx context.Context) (string, bool, error) {
		a, err := d.client.get(ctx, port, host, path)
		want := "catalog"
		if strings.HasPrefix(path, "/cart") {
			want = "cart"
		}
		return strconv.Itoa(a.code) + " " + a.backend, a.code == 200 && a.backend == want, err
	}
}

func (d *demo) codeOf(port int, host, path string) func(context.Context) (string, bool, error) {
	want := 404
	if path == "/abort" {
		want = 418
	}
	return func(ctx context.Context) (string, bool, error) {
		a, err := d.client.get(ctx, port, host, path)
		return strconv.Itoa(a.code), a.code == want && a.backend == "", err
	}
}

func (d *demo) redirect(port int) func(context.Context) (string, bool, error) {
	return func(ctx context.Context) (string, bool, error) {
		a, err := d.client.get(ctx, port, "shop.example.com", "/old/a")
		if err != nil {
			return "", false, err
		}
		to := a.header.Get("location")
		return fmt.Sprintf("%d to %s", a.code, to), a.code == 301 && strings.HasSuffix(to, "/new/a"), nil
	}
}

// split counts who answers, eight requests at a time.
func (d *demo) split(port int, host string) func(context.Context) (string, bool, error) {
	return func(ctx context.Context) (string, bool, error) {
		count, err := d.count(ctx, splitCount, port, host)
		v1, v2 := count["reviews-v1"], count["reviews-v2"]
		off := max(v2-splitCount/10, splitCount/10-v2)
		return fmt.Sprintf("%.1f %% v1, %.1f %% v2", float64(v1)*100/splitCount, float64(v2)*100/splitCount),
			v1+v2 == splitCount && off <= splitSlack, err
	}
}

func (d *demo) canary(port int) func(context.Context) (string, bool, error) {
	return func(ctx context.Context) (string, bool, error) {
		count, err := d.count(ctx, 100, port, "reviews.example.com", "x-canary", "yes")
		return fmt.Sprintf("v2 %d of 100", count["reviews-v2"]), count["reviews-v2"] == 100, err
	}
}

// count sends n requests and counts the backends that answered 200.
func (d *demo) count(ctx context.Context, n, port int, host string, headers ...string) (map[string]int, error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	count := map[string]int{}
	var failed error
	jobs := make(chan struct{}, n)
	for range n {
		jobs <- struct{}{}
	}
	close(jobs)
	for range 8 {
		wg.Go(func() {
			for range jobs {
				a, err := d.client.get(ctx, port, host, "/", headers...)
				mu.Lock()
				if err != nil {
					failed = err
				} else if a.code == 200 {
					count[a.backend]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return count, failed
}

func (d *demo) retry(port int, path string) func(context.Context) (string, bool, error) {
	return func(ctx context.Context) (string, bool, error) {
		a, err := d.client.get(ctx, port, "resilience.example.com", path, "x-demo-id", path)
		if err != nil {
			return "", false, err
		}
		attempts := a.header.Get("x-attempts")
		pass := a.code == 200 && attempts == "3"
		if path == "/no-retry" {
			pass = a.code == 503 && attempts == "1"
		}
		return fmt.Sprintf("%d at attempt %s", a.code, attempts), pass, nil
	}
}

func (d *demo) timeout(port int) func(context.Context) (string, bool, error) {
	return func(ctx context.Context) (string, bool, error) {
		a, err := d.client.get(ctx, port, "resilience.example.com", "/timeout")
		return fmt.Sprintf("%d after %d ms", a.code, a.took.Milliseconds()),
			a.code == 504 && a.took >= 290*time.Millisecond && a.took < 1900*time.Millisecond, err
	}
}

func (d *demo) delay(port int) func(context.Context) (string, bool, error) {
	return func(ctx context.Context) (string, bool, error) {
		a, err := d.client.get(ctx, port, "fault.example.com", "/delay")
		return fmt.Sprintf("%d after %d ms", a.code, a.took.Milliseconds()), a.code == 200 && a.took >= 240*time.Millisecond, err
	}
}
