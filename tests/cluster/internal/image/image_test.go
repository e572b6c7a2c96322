package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// contents reads an archive into memory.
func contents(t *testing.T, archive []byte) (headers map[string]*tar.Header, files map[string][]byte) {
	t.Helper()
	headers, files = map[string]*tar.Header{}, map[string][]byte{}
	for reader := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := reader.Next()
		if err == io.EOF {
			return headers, files
		}
		if err != nil {
			t.Fatal(err)
		}
		headers[header.Name] = header
		if files[header.Name], err = io.ReadAll(reader); err != nil {
			t.Fatal(err)
		}
	}
}

func build(t *testing.T, spec Spec) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := spec.Write(file); err != nil {
		t.Fatal(err)
	}
	archive, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

func program(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "router")
	if err := os.WriteFile(file, []byte("not really a program"), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestSameInputGivesSameBytes(t *testing.T) {
	file := program(t)
	spec := Spec{
		Tag: "localhost/router:1", Entrypoint: []string{"/bin/router"},
		Labels: map[string]string{"a": "1", "b": "2", "c": "3"},
		Files:  []File{{Source: file, Target: "/bin/router"}},
		Dirs:   []Dir{{Path: "/data", Mode: 0o700, UID: NonRoot}},
	}
	first := build(t, spec)
	if err := os.Chtimes(file, time.Now(), time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, build(t, spec)) {
		t.Error("the time of a file changed the image")
	}
	spec.Labels["c"] = "4"
	if bytes.Equal(first, build(t, spec)) {
		t.Error("a label did not change the image")
	}
}

func TestArchive(t *testing.T) {
	_, outer := contents(t, build(t, Spec{
		Tag: "localhost/router:1", Entrypoint: []string{"/bin/router"}, User: "65532:65532", Env: []string{"A=b"},
		Files: []File{{Source: program(t), Target: "/usr/local/bin/router"}},
		Dirs:  []Dir{{Path: "/data", Mode: 0o700, UID: NonRoot}},
	}))
	var list []manifest
	if err := json.Unmarshal(outer["manifest.json"], &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || len(list[0].Layers) != 1 || list[0].RepoTags[0] != "localhost/router:1" {
		t.Fatalf("manifest is %v", list)
	}
	var config struct {
		Config struct {
			User       string
			Entrypoint []string
		}
		Rootfs struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(outer[list[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	layer := outer[list[0].Layers[0]]
	if config.Rootfs.DiffIDs[0] != "sha256:"+digest(layer) {
		t.Error("the configuration names another layer")
	}
	if config.Config.User != "65532:65532" || config.Config.Entrypoint[0] != "/bin/router" {
		t.Errorf("configuration is %v", config)
	}
	headers, _ := contents(t, layer)
	for name, mode := range map[string]int64{
		"tmp/": 0o1777, "usr/": 0o755, "usr/local/bin/": 0o755, "usr/local/bin/router": 0o755, "data/": 0o700, "etc/passwd": 0o644,
	} {
		if header, ok := headers[name]; !ok || header.Mode != mode {
			t.Errorf("%s is %v, want mode %o", name, header, mode)
		}
	}
	if headers["data/"].Uid != NonRoot {
		t.Error("the folder is not its owner's")
	}
}

func TestTags(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "image.tar")
	if err := (Spec{Tag: "localhost/router:1", Entrypoint: []string{"/x"}}).Write(file); err != nil {
		t.Fatal(err)
	}
	if tags, err := Tags(file); err != nil || len(tags) != 1 || tags[0] != "localhost/router:1" {
		t.Errorf("got %v, %v", tags, err)
	}
	for name, content := range map[string]string{"empty": "", "text": strings.Repeat("no archive", 100)} {
		other := filepath.Join(dir, name)
		if err := os.WriteFile(other, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if tags, err := Tags(other); err == nil {
			t.Errorf("%s: got %v", name, tags)
		}
	}
}

func TestBadImagesAreRefused(t *testing.T) {
	entrypoint := []string{"/x"}
	for name, spec := range map[string]Spec{
		"no tag":         {Tag: "localhost/router", Entrypoint: entrypoint},
		"port, no tag":   {Tag: "localhost:5000/router", Entrypoint: entrypoint},
		"latest":         {Tag: "localhost/router:latest", Entrypoint: entrypoint},
		"no entrypoint":  {Tag: "localhost/router:1"},
		"no such source": {Tag: "localhost/router:1", Entrypoint: entrypoint, Files: []File{{Source: "/no/such", Target: "/x"}}},
	} {
		if err := spec.Write(filepath.Join(t.TempDir(), "image.tar")); err == nil {
			t.Errorf("%s: was built", name)
		}
	}
}

func TestParse(t *testing.T) {
	files := map[string]File{
		"a=/b":        {Source: "a", Target: "/b"},
		"a/b=/c:0600": {Source: "a/b", Target: "/c", Mode: 0o600},
	}
	for text, want := range files {
		if got, err := ParseFile(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	dirs := map[string]Dir{
		"/a":            {Path: "/a", Mode: 0o755},
		"/a:1777":       {Path: "/a", Mode: 0o1777},
		"/a:0700:65532": {Path: "/a", Mode: 0o700, UID: 65532},
	}
	for text, want := range dirs {
		if got, err := ParseDir(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "a", "=b", "a=", "a=/b:rw", "a=/b:0"} {
		if got, err := ParseFile(text); err == nil {
			t.Errorf("%q as file was read as %v", text, got)
		}
	}
	for _, text := range []string{"", ":0700", "/a:x", "/a:0700:me", "/a:0700:-1", "/a:1:2:3"} {
		if got, err := ParseDir(text); err == nil {
			t.Errorf("%q as dir was read as %v", text, got)
		}
	}
}
