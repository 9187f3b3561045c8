// Package bpf has the programs that judge packets, compiled, and the layouts of their maps. pkg/node/datapath loads them.
//
// The C sources are beside it. hack/generate.sh compiles them where a clang is at hand; what is committed is what is used.
package bpf
