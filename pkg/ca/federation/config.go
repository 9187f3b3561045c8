package federation

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"sigs.k8s.io/yaml"
)

// Profile is how an endpoint proves who it is (SPIFFE Federation 5.2).
type Profile string

const (
	// Web is a certificate of the Web PKI; Spiffe is an SVID.
	Web    Profile = "https_web"
	Spiffe Profile = "https_spiffe"
)

// Relation is one trust domain whose bundle is fetched.
type Relation struct {
	TrustDomain string  `json:"trustDomain"`
	URL         string  `json:"url"`
	Profile     Profile `json:"profile"`
	// EndpointID is the SPIFFE ID of the endpoint; required with https_spiffe, and in the trust domain unless the bundle of
	// another one of the list verifies it.
	EndpointID string `json:"endpointSPIFFEID,omitempty"`
	// BundleFile has the bundle to begin with, in the SPIFFE format; required with https_spiffe in its own trust domain.
	BundleFile string `json:"bundleFile,omitempty"`
	// RootsFile has the roots (PEM) that verify an https_web endpoint; those of the system when empty.
	RootsFile string `json:"rootsFile,omitempty"`
}

// Load reads a list of relations: YAML, {federation: [...]}. Unknown fields are refused.
func Load(path string) ([]Relation, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read federation: %w", err)
	}
	var doc struct {
		Federation []Relation `json:"federation"`
	}
	if err := yaml.UnmarshalStrict(bytes.TrimSpace(data), &doc); err != nil {
		return nil, fmt.Errorf("read federation %s: %w", path, err)
	}
	return doc.Federation, nil
}

// check gives the trust domain and the endpoint's ID, or what is wrong.
func (r *Relation) check() (td spiffeid.TrustDomain, id spiffeid.ID, err error) {
	if td, err = spiffeid.TrustDomainFromString(r.TrustDomain); err != nil {
		return td, id, fmt.Errorf("trustDomain: %w", err)
	}
	u, err := url.Parse(r.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return td, id, fmt.Errorf("url %q is not https://host/path, without a user", r.URL)
	}
	switch r.Profile {
	case Web:
		if r.EndpointID != "" {
			return td, id, errors.New("endpointSPIFFEID is of profile https_spiffe")
		}
	case Spiffe:
		if id, err = spiffeid.FromString(r.EndpointID); err != nil {
			return td, id, fmt.Errorf("endpointSPIFFEID: %w", err)
		}
		if r.RootsFile != "" {
			return td, id, errors.New("rootsFile is of profile https_web")
		}
		if id.TrustDomain() == td && r.BundleFile == "" {
			return td, id, errors.New("bundleFile: a bundle to begin with is needed, as nothing else verifies the endpoint")
		}
	default:
		return td, id, fmt.Errorf("profile %q is neither %s nor %s", r.Profile, Web, Spiffe)
	}
	return td, id, nil
}
