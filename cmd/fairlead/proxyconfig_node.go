package main

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"fairlead.io/fairlead/pkg/admin"
)

// trustRows are one row a root of a trust domain.
func trustRows(s *admin.Served) [][]string {
	b := read[struct {
		X509Authorities []string `json:"x509Authorities"`
		JwtAuthorities  []struct{ KeyID string }
		Sequence        string
		Signing         string
		Local           bool
	}](s)
	sequence := b.Sequence
	if b.Local {
		sequence += " (ours)"
	}
	rows := [][]string{}
	for i, text := range b.X509Authorities {
		row := []string{"", "", "", "unreadable", "", servedState(s)}
		if i == 0 {
			row[0], row[1], row[2] = s.Name, sequence, strconv.Itoa(len(b.JwtAuthorities))
		}
		if der, err := base64.StdEncoding.DecodeString(text); err == nil {
			if c, err := x509.ParseCertificate(der); err == nil {
				row[3], row[4] = c.Subject.String(), c.NotAfter.UTC().Format("2006-01-02")
			}
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		rows = append(rows, []string{s.Name, sequence, strconv.Itoa(len(b.JwtAuthorities)), "-", "", servedState(s)})
	}
	return rows
}

// workloadRows are one row a pod.
func workloadRows(s *admin.Served) [][]string {
	w := read[struct {
		Namespace, Name, SpiffeID string
		Addresses                 []string
	}](s)
	return [][]string{{s.Name, fmt.Sprintf("%s/%s", w.Namespace, w.Name), strings.Join(w.Addresses, ", "), w.SpiffeID, servedState(s)}}
}
