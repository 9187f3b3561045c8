package node_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/node"
)

func TestKeysAndTokensAreNotPrinted(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range []any{node.SVID{Key: key}, &node.SVID{Key: key}, node.JWT{Token: "secret.token"}, []node.JWT{{Token: "secret.token"}}} {
		fmt.Fprintf(&out, "%v %+v %#v %s\n", v, v, v, v)
		if err := json.NewEncoder(&out).Encode(v); err != nil {
			t.Fatal(err)
		}
		log.Info("x", "v", v)
		log.Info("x", "nested", map[string]any{"v": v})
	}
	for _, word := range []string{"secret.token", hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw), new(big.Int).SetBytes(raw).String()} {
		if strings.Contains(out.String(), word) {
			t.Errorf("%s is in what was printed", word)
		}
	}
}
