package admin

import (
	"encoding/json"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
)

const private = "very-private-text"

func bytesOf(s string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(s)}}
}

func stringOf(s string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// secretive are messages with secrets at every depth that Envoy's API has.
func secretive(t *testing.T) map[string]proto.Message {
	cert := &tlsv3.TlsCertificate{CertificateChain: bytesOf("public-chain"), PrivateKey: bytesOf(private), Password: stringOf(private)}
	context := &tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{TlsCertificates: []*tlsv3.TlsCertificate{cert}}}
	return map[string]proto.Message{
		"key pair":        &tlsv3.Secret{Name: "public-chain", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: cert}},
		"generic":         &tlsv3.Secret{Name: "public-chain", Type: &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secret: stringOf(private)}}},
		"session tickets": &tlsv3.Secret{Name: "public-chain", Type: &tlsv3.Secret_SessionTicketKeys{SessionTicketKeys: &tlsv3.TlsSessionTicketKeys{Keys: []*corev3.DataSource{bytesOf(private)}}}},
		"inside an Any": &listenerv3.Listener{Name: "public-chain", FilterChains: []*listenerv3.FilterChain{{
			TransportSocket: &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(t, context)}},
		}}},
	}
}

// leaks looks for the secret as text and as JSON's base64.
func leaks(data []byte) bool {
	encoded, _ := json.Marshal([]byte(private))
	return strings.Contains(string(data), private) || strings.Contains(string(data), strings.Trim(string(encoded), `"=`))
}

func TestResourceJSONHasNoSecrets(t *testing.T) {
	for name, m := range secretive(t) {
		before := proto.Clone(m)
		body := pack(t, m)
		out := ResourceJSON(body)
		if leaks(out) {
			t.Errorf("%s: the secret is in %s", name, out)
		}
		if !strings.Contains(string(out), "public-chain") && !strings.Contains(string(out), "cHVibGljLWNoYWlu") {
			t.Errorf("%s: too much is withheld: %s", name, out)
		}
		after, err := body.UnmarshalNew()
		if err != nil || !proto.Equal(before, after) {
			t.Errorf("%s: what is served to nodes has changed: %v", name, err)
		}
	}
}

func TestResourceJSONWithholdsWhatItCannotRead(t *testing.T) {
	for name, a := range map[string]*anypb.Any{
		"unknown type":  {TypeUrl: "type.googleapis.com/no.such.Type", Value: []byte(private)},
		"not a message": {TypeUrl: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", Value: []byte("\xff" + private)},
	} {
		out := ResourceJSON(a)
		if leaks(out) || !json.Valid(out) || !strings.Contains(string(out), "error") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

func TestPlainHasNoSecrets(t *testing.T) {
	res, err := snapshot.Encode("s", secretive(t)["key pair"], 1, model.Ref{Kind: "Secret", Namespace: "a", Name: "b"})
	if err != nil {
		t.Fatal(err)
	}
	secret := &model.Secret{Data: model.SecretData{"tls.key": []byte(private)}}
	secret.Name = "public-name"
	for name, v := range map[string]any{
		"secret": secret, "secret in a struct": struct{ S *model.Secret }{secret}, "resource": res, "resources": []*snapshot.Resource{res},
		"bytes": struct{ Public, Key []byte }{[]byte("x"), []byte(private)}, "array": [4]byte{1, 2, 3, 4},
		"pem": map[string]string{"k": "-----BEGIN EC PRIVATE KEY-----\n" + private}, "message": secretive(t)["key pair"],
	} {
		out, err := json.Marshal(Plain(v))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if leaks(out) {
			t.Errorf("%s: the secret is in %s", name, out)
		}
	}
	out, _ := json.Marshal(Plain(secret))
	if !strings.Contains(string(out), "public-name") {
		t.Errorf("too much is withheld: %s", out)
	}
}
