// Package image builds container images without a container engine: an archive
// in Docker's form with a single layer. The same input gives the same bytes, so
// that the image's digest tells whether anything changed.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"
)

// File is a file of the image, copied from the host.
type File struct {
	Source, Target string
	// Mode is the permission; zero takes over whether the source may be run.
	Mode os.FileMode
}

// Dir is a folder of the image.
type Dir struct {
	Path string
	Mode os.FileMode
	UID  int
}

// Spec describes an image.
type Spec struct {
	Tag        string
	Entrypoint []string
	User       string
	Env        []string
	Labels     map[string]string
	Files      []File
	Dirs       []Dir
}

// NonRoot is the user that our images run as, by the custom of distroless.
const NonRoot = 65532

// CertsPath is where programs look for the authorities to trust, here and in
// the image.
const CertsPath = "/etc/ssl/certs/ca-certificates.crt"

// epoch is the time of every file: a real one would change the digest.
var epoch = time.Unix(0, 0).UTC()

// Write writes the archive to a file.
func (s Spec) Write(file string) error {
	if err := s.check(); err != nil {
		return err
	}
	layer, err := s.layer()
	if err != nil {
		return err
	}
	archive, err := s.archive(layer)
	if err != nil {
		return err
	}
	partial := file + ".partial"
	if err := os.WriteFile(partial, archive, 0o644); err != nil {
		return err
	}
	return os.Rename(partial, file)
}

func (s Spec) check() error {
	name, tag, ok := cutTag(s.Tag)
	switch {
	case !ok || name == "" || tag == "":
		return fmt.Errorf("%q is not an image's name with a tag, such as localhost/router:1", s.Tag)
	case tag == "latest":
		return errors.New(`the tag "latest" makes Kubernetes pull the image from a registry; use another`)
	case len(s.Entrypoint) == 0:
		return errors.New("an image without an entrypoint runs nothing")
	}
	return nil
}

// cutTag divides a name at the colon before its tag; a registry's port has a
// colon as well.
func cutTag(full string) (name, tag string, ok bool) {
	at := strings.LastIndexByte(full, ':')
	if at < 0 || strings.Contains(full[at:], "/") {
		return full, "", false
	}
	return full[:at], full[at+1:], true
}

// entry is something in the layer.
type entry struct {
	header  tar.Header
	content []byte
}

// layer makes the file system.
func (s Spec) layer() ([]byte, error) {
	entries := map[string]entry{}
	folder := func(dir string, mode os.FileMode, uid int) {
		entries[dir] = entry{header: tar.Header{
			Typeflag: tar.TypeDir, Name: dir + "/", Mode: int64(mode), Uid: uid, Gid: uid,
		}}
	}
	file := func(name string, mode os.FileMode, content []byte) {
		entries[name] = entry{
			header:  tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(mode), Size: int64(len(content))},
			content: content,
		}
	}
	folder("tmp", 0o1777, 0)
	file("etc/passwd", 0o644, fmt.Appendf(nil, "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:%[1]d:%[1]d:nonroot:/tmp:/sbin/nologin\n", NonRoot))
	file("etc/group", 0o644, fmt.Appendf(nil, "root:x:0:\nnonroot:x:%d:\n", NonRoot))
	for _, dir := range s.Dirs {
		folder(inside(dir.Path), dir.Mode, dir.UID)
	}
	for _, f := range s.Files {
		content, mode, err := f.read()
		if err != nil {
			return nil, err
		}
		file(inside(f.Target), mode, content)
	}
	for name := range entries {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := entries[dir]; !ok {
				folder(dir, 0o755, 0)
			}
		}
	}
	return pack(entries)
}

// inside makes the path of a file in an image relative to the image's root.
func inside(target string) string { return strings.TrimPrefix(path.Clean("/"+target), "/") }

func (f File) read() ([]byte, os.FileMode, error) {
	info, err := os.Stat(f.Source)
	if err != nil {
		return nil, 0, err
	}
	mode := f.Mode
	if mode == 0 {
		mode = 0o644
		if info.Mode()&0o111 != 0 {
			mode = 0o755
		}
	}
	content, err := os.ReadFile(f.Source)
	return content, mode, err
}

// pack writes entries in the order of their names, which puts every folder
// before what is in it.
func pack(entries map[string]entry) ([]byte, error) {
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, name := range names {
		if err := put(writer, entries[name].header, entries[name].content); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

func put(writer *tar.Writer, header tar.Header, content []byte) error {
	header.ModTime = epoch
	header.Format = tar.FormatPAX
	if err := writer.WriteHeader(&header); err != nil {
		return err
	}
	_, err := io.Copy(writer, bytes.NewReader(content))
	return err
}

// archive wraps the layer with what describes it.
func (s Spec) archive(layer []byte) ([]byte, error) {
	layerDigest := digest(layer)
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": epoch.Format(time.RFC3339),
		"config": map[string]any{
			"Entrypoint": s.Entrypoint, "User": s.User, "Env": s.Env, "Labels": s.Labels, "WorkingDir": "/",
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + layerDigest}},
		"history": []map[string]any{{"created": epoch.Format(time.RFC3339), "created_by": "quartermaster tests/cluster"}},
	})
	if err != nil {
		return nil, err
	}
	configName, layerName := digest(config)+".json", layerDigest+".tar"
	list, err := json.Marshal([]manifest{{Config: configName, RepoTags: []string{s.Tag}, Layers: []string{layerName}}})
	if err != nil {
		return nil, err
	}
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, part := range []struct {
		name    string
		content []byte
	}{{configName, config}, {layerName, layer}, {"manifest.json", list}} {
		header := tar.Header{Typeflag: tar.TypeReg, Name: part.name, Mode: 0o644, Size: int64(len(part.content))}
		if err := put(writer, header, part.content); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

// manifest is an entry of an archive's list of images.
type manifest struct {
	Config           string
	RepoTags, Layers []string
}

// Tags lists the names of the images in an archive.
func Tags(file string) ([]string, error) {
	opened, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	for reader := tar.NewReader(opened); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s is not an archive in Docker's form: it has no manifest.json", file)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if header.Name != "manifest.json" {
			continue
		}
		var list []manifest
		if err := json.NewDecoder(reader).Decode(&list); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		var tags []string
		for _, m := range list {
			tags = append(tags, m.RepoTags...)
		}
		return tags, nil
	}
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
