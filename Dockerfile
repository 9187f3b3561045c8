# Static binaries on an empty image. The build needs nothing but Go; the version comes in, as .git stays out:
#   docker build --build-arg VERSION=$(git describe --tags --always) -t fairlead .
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /out/ ./cmd/...

# No shell, no libc, no CA bundle: the server's only peer with a certificate is the kube-apiserver, whose CA the cluster mounts.
FROM scratch
COPY --from=build /out/ /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/fairlead"]
CMD ["serve", "--source=kube"]
