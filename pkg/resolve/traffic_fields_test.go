package resolve

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
)

// refusedFields are named in a condition when they are set, and not obeyed. Every other field changes what comes out.
var refusedFields = []string{
	"http[].match[].statPrefix",
	"http[].fault.delay.exponentialDelay",
	"http[].fault.abort.http2Error",
	"servers[].defaultEndpoint",
	"servers[].port.targetPort",
	"servers[].tls.caCrl",
	"servers[].tls.tlsCertificates[].caCertificates",
}

// fieldValues are what a field is set to where the plain value of its type would be refused for another reason.
var fieldValues = map[string]any{
	"gateways":                                []string{"edge"},
	"exportTo":                                []string{"other"},
	"http[].redirect.scheme":                  "https",
	"http[].redirect.derivePort":              v1alpha1.RedirectPortProtocolDefault,
	"http[].redirect.redirectCode":            int32(302),
	"http[].directResponse.status":            int32(404),
	"http[].retries.retryOn":                  "reset",
	"http[].fault.abort.grpcStatus":           "INTERNAL",
	"http[].fault.abort.httpStatus":           int32(418),
	"http[].corsPolicy.unmatchedPreflights":   v1alpha1.UnmatchedPreflightsIgnore,
	"http[].mirrorPercent":                    int32(7),
	"http[].route[].weight":                   int32(7),
	"tcp[].route[].weight":                    int32(7),
	"tls[].route[].weight":                    int32(7),
	"http[].retries.retryIgnorePreviousHosts": false,
	"http[].rewrite.uriRegexRewrite.rewrite":  "/new",
	"servers[].bind":                          "127.0.0.7",
	"servers[].tls.minProtocolVersion":        v1alpha1.TLSV13,
	"servers[].tls.maxProtocolVersion":        v1alpha1.TLSV13,
}

// fieldBases give the object that a field is set in: the longest prefix of the field's path decides.
var fieldBases = map[string]string{
	"":                               `{hosts: [reviews], http: [{match: [{}], route: [{destination: {host: reviews}}, {weight: 1, destination: {host: ratings, port: {number: 80}}}]}]}`,
	"http[].redirect":                `{hosts: [reviews], http: [{match: [{uri: {prefix: /}}], redirect: {}}]}`,
	"http[].directResponse":          `{hosts: [reviews], http: [{directResponse: {status: 200}}]}`,
	"http[].delegate":                `{hosts: [reviews], http: [{delegate: {name: leaf}}]}`,
	"http[].retries":                 `{hosts: [reviews], http: [{route: [{destination: {host: reviews}}], retries: {attempts: 3}}]}`,
	"http[].fault.delay":             `{hosts: [reviews], http: [{route: [{destination: {host: reviews}}], fault: {delay: {fixedDelay: 2s}}}]}`,
	"http[].fault.delay.fixedDelay":  `{hosts: [reviews], http: [{route: [{destination: {host: reviews}}], fault: {delay: {percentage: {value: 1}}}}]}`,
	"http[].rewrite.uriRegexRewrite": `{hosts: [reviews], http: [{route: [{destination: {host: reviews}}], rewrite: {uriRegexRewrite: {match: "/old"}}}]}`,
	"http[].fault.abort":             `{hosts: [reviews], http: [{route: [{destination: {host: reviews}}], fault: {abort: {httpStatus: 500, percentage: {value: 1}}}}]}`,
	"http[].fault.abort.grpcStatus":  `{hosts: [reviews], http: [{route: [{destination: {host: reviews}}], fault: {abort: {percentage: {value: 1}}}}]}`,
	"http[].mirrorPerc":              `{hosts: [reviews], http: [{route: [{destination: {host: reviews}}], mirror: {host: far.other}}]}`,
	"http[].match[].ignoreUriCase":   `{hosts: [reviews], http: [{match: [{uri: {exact: /A}}], route: [{destination: {host: reviews}}]}]}`,
	"tcp":                            `{hosts: [db], tcp: [{match: [{}], route: [{destination: {host: db}}, {weight: 1, destination: {host: db}}]}]}`,
	"tls":                            `{hosts: [api.example.com], tls: [{match: [{sniHosts: [api.example.com]}], route: [{destination: {host: api.example.com}}, {weight: 1, destination: {host: api.example.com}}]}]}`,
	"servers":                        `{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}`,
	"selector":                       `{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}`,
	"servers[].tls":                  `{servers: [{port: {number: 80, name: http, protocol: HTTPS}, hosts: ["*"], tls: {mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /ca}}]}`,
	"servers[].tls.credentialName":   `{servers: [{port: {number: 80, name: http, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE}}]}`,
	"servers[].tls.tlsCertificates":  `{servers: [{port: {number: 80, name: http, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: /c, privateKey: /k}]}}]}`,
	"servers[].tls.httpsRedirect":    `{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"], tls: {}}]}`,
}

// leaf is one field that holds a value.
type leaf struct {
	path  string
	steps []int // field numbers; the first element of a slice and the key "k" of a map are entered
}

// leaves lists all fields of a specification.
func leaves(t reflect.Type, path string, steps []int) []leaf {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Struct:
		var out []leaf
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			out = append(out, leaves(t.Field(i).Type, strings.TrimPrefix(path+"."+name, "."), append(slices.Clone(steps), i))...)
		}
		return out
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return leaves(t.Elem(), path+"[]", steps)
	}
	return []leaf{{path, steps}}
}

// enter finds the place of a leaf in a specification and makes what leads there.
func enter(v reflect.Value, steps []int) reflect.Value {
	for {
		switch {
		case v.Kind() == reflect.Pointer && len(steps) > 0:
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		case v.Kind() == reflect.Slice && len(steps) > 0:
			if v.Len() == 0 {
				v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			}
			v = v.Index(0)
		case len(steps) == 0:
			return v
		default:
			v, steps = v.Field(steps[0]), steps[1:]
		}
	}
}

// setLeaf gives a field a value that it does not have.
func setLeaf(v reflect.Value, path string) {
	if want, ok := fieldValues[path]; ok {
		if v.Kind() == reflect.Pointer {
			v.Set(reflect.New(v.Type().Elem()))
			v = v.Elem()
		}
		v.Set(reflect.ValueOf(want).Convert(v.Type()))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setLeaf(v.Elem(), path)
	case reflect.String:
		if v.Type() == reflect.TypeFor[v1alpha1.Duration]() {
			v.SetString("9s")
			return
		}
		v.SetString("field")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int32:
		v.SetInt(v.Int() + 9)
	case reflect.Float64:
		v.SetFloat(9)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte("field"))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		v.Index(0).SetString("field")
	case reflect.Map:
		e := reflect.New(v.Type().Elem()).Elem()
		if e.Kind() == reflect.String {
			e.SetString("field")
		}
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("field"), e)
	}
}

// Each field of VirtualService and Gateway does something, or is named in a condition: none is silently ignored.
func TestTrafficFieldsAreObeyedOrNamed(t *testing.T) {
	refused := map[string]bool{}
	all := append(leaves(reflect.TypeFor[v1alpha1.VirtualServiceSpec](), "", nil), leaves(reflect.TypeFor[v1alpha1.GatewaySpec](), "", nil)...)
	if len(all) < 120 {
		t.Fatalf("only %d fields were found", len(all))
	}
	for _, l := range all {
		t.Run(l.path, func(t *testing.T) {
			gateway := strings.HasPrefix(l.path, "servers") || l.path == "selector"
			without, _ := fieldWorld(t, l, gateway, false)
			with, status := fieldWorld(t, l, gateway, true)
			if without == with {
				t.Error("setting the field changes neither the outcome nor the conditions")
			}
			if slices.Contains(refusedFields, l.path) {
				refused[l.path] = true
				want := "spec." + strings.ReplaceAll(l.path, "[]", "[0]")
				named := slices.ContainsFunc(status.Conditions, func(c model.Condition) bool {
					return (c.Warning || !c.Status) && (strings.HasPrefix(want, c.Path) && c.Path != "")
				})
				if !named {
					t.Errorf("no condition names the field: %+v", status.Conditions)
				}
			}
		})
	}
	for _, f := range refusedFields {
		if !refused[f] {
			t.Errorf("no field %s", f)
		}
	}
}

// fieldWorld resolves the base object of a field, with the field set or not.
func fieldWorld(t *testing.T, l leaf, gateway, set bool) (string, model.ObjectStatus) {
	base := ""
	for prefix := range fieldBases {
		if strings.HasPrefix(l.path, prefix) && len(prefix) > len(base) {
			base = prefix
		}
	}
	kind := "VirtualService"
	if gateway {
		kind = "Gateway"
	}
	w := newTrafficWorld(t, "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: leaf, namespace: shop}, spec: {http: [{route: [{destination: {host: reviews}}]}]}}",
		"{apiVersion: networking.istio.io/v1, kind: "+kind+", metadata: {name: it, namespace: shop}, spec: "+fieldBases[base]+"}")
	key := "shop/it@istio"
	var status func() model.ObjectStatus
	var object any
	var spec reflect.Value
	var meta *model.Meta
	if gateway {
		o := *sourceRow[*ServerGateway](w, w.in.ServerGateways.Name(), key)
		o.Spec = *o.Spec.DeepCopy()
		object, spec, meta = &o, reflect.ValueOf(&o.Spec).Elem(), &o.Meta
		status = func() model.ObjectStatus { return trafficRow(w, w.traffic.Gateways, key).Status }
	} else {
		o := *sourceRow[*VirtualService](w, w.in.VirtualServices.Name(), key)
		o.Spec = *o.Spec.DeepCopy()
		object, spec, meta = &o, reflect.ValueOf(&o.Spec).Elem(), &o.Meta
		status = func() model.ObjectStatus { return trafficRow(w, w.traffic.Routes, key).Status }
	}
	v := enter(spec, l.steps)
	if set {
		setLeaf(v, l.path)
	}
	meta.Created, meta.ResourceVersion = time.Unix(1000, 0), "2"
	w.e.Apply(w.in.Batch([]source.Update{{Ref: meta.Ref, Object: object}}, 1000))
	return w.text(), status()
}

func sourceRow[V any](w *trafficWorld, table, key string) (v V) {
	rows, _ := w.e.Dump(table)
	for _, r := range rows {
		if r.Key == key {
			return r.Value.(V)
		}
	}
	return v
}
