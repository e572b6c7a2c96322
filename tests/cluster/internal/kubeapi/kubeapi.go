// Package kubeapi speaks to the API server with nothing but the standard
// library. The official client would make this program take minutes to build,
// for the dozen requests it sends.
package kubeapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// Object is a Kubernetes object, or a piece of one.
type Object = map[string]any

// The types of a patch.
const (
	MergePatch     = "application/merge-patch+json"
	StrategicPatch = "application/strategic-merge-patch+json"
	ApplyPatch     = "application/apply-patch+yaml" // of which JSON is a part
	plainJSON      = "application/json"
)

// requestTimeout bounds a request, for an API server that was stopped in its
// tracks accepts connections and says nothing.
const requestTimeout = 10 * time.Second

// Client sends requests as one user.
type Client struct {
	base string
	http *http.Client
}

// StatusError is an answer that says no.
type StatusError struct {
	Code    int
	Message string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the API server says %d: %s", e.Code, e.Message)
}

// IsCode tells whether an error is an answer with the given code.
func IsCode(err error, code int) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Code == code
}

// New makes a client from the files of an authority and of a user.
func New(base, caFile, certFile, keyFile string) (*Client, error) {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return &Client{base: base, http: &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
			TLSHandshakeTimeout: 5 * time.Second,
			MaxIdleConnsPerHost: 8,
		},
	}}, nil
}

// Get reads an object into out; out may be nil to ask for the status only.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.send(ctx, http.MethodGet, path, "", nil, out)
}

// Create creates an object in the collection at path.
func (c *Client) Create(ctx context.Context, path string, object any) error {
	return c.send(ctx, http.MethodPost, path, plainJSON, object, nil)
}

// Patch changes an object.
func (c *Client) Patch(ctx context.Context, path, kind string, patch any) error {
	return c.send(ctx, http.MethodPatch, path, kind, patch, nil)
}

// Apply makes an object be as given, whether it existed or not.
func (c *Client) Apply(ctx context.Context, path string, object any) error {
	return c.Patch(ctx, path+"?fieldManager=quartermaster-test-cluster&force=true", ApplyPatch, object)
}

// Delete deletes an object; that it is not there is no error.
func (c *Client) Delete(ctx context.Context, path string) error {
	err := c.send(ctx, http.MethodDelete, path, "", nil, nil)
	if IsCode(err, http.StatusNotFound) {
		return nil
	}
	return err
}

func (c *Client) send(ctx context.Context, method, path, kind string, body, out any) error {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return err
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return &StatusError{response.StatusCode, message(text)}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// message takes the sentence out of the API's form of an error.
func message(text []byte) string {
	var status struct{ Message string }
	if json.Unmarshal(text, &status) == nil && status.Message != "" {
		return status.Message
	}
	return string(text[:min(len(text), 300)])
}

// Ready tells whether a node's object says that the node is ready.
func Ready(ctx context.Context, c *Client, node string) (bool, error) {
	var object struct {
		Status struct {
			Conditions []struct{ Type, Status string }
		}
	}
	if err := c.Get(ctx, "/api/v1/nodes/"+node, &object); err != nil {
		return false, err
	}
	for _, condition := range object.Status.Conditions {
		if condition.Type == "Ready" {
			return condition.Status == "True", nil
		}
	}
	return false, nil
}
