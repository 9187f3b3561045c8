package translate

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// accessLog writes one JSON object a request to standard output; the keys are Istio's, which tools know.
func accessLog() []*accesslogv3.AccessLog {
	fields := map[string]string{
		"start_time":                "%START_TIME%",
		"method":                    "%REQ(:METHOD)%",
		"authority":                 "%REQ(:AUTHORITY)%",
		"path":                      "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
		"protocol":                  "%PROTOCOL%",
		"response_code":             "%RESPONSE_CODE%",
		"response_flags":            "%RESPONSE_FLAGS%",
		"response_code_details":     "%RESPONSE_CODE_DETAILS%",
		"bytes_received":            "%BYTES_RECEIVED%",
		"bytes_sent":                "%BYTES_SENT%",
		"duration":                  "%DURATION%",
		"upstream_cluster":          "%UPSTREAM_CLUSTER%",
		"upstream_host":             "%UPSTREAM_HOST%",
		"route_name":                "%ROUTE_NAME%",
		"request_id":                "%REQ(X-REQUEST-ID)%",
		"downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
		"downstream_local_address":  "%DOWNSTREAM_LOCAL_ADDRESS%",
	}
	format := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for k, v := range fields {
		format.Fields[k] = structpb.NewStringValue(v)
	}
	return []*accesslogv3.AccessLog{{
		Name: "envoy.access_loggers.stdout",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(&streamv3.StdoutAccessLog{
			AccessLogFormat: &streamv3.StdoutAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: format},
			}},
		})},
	}}
}
