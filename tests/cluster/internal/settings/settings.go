// Package settings holds what was chosen when a cluster was created. It is
// written once, before anything starts, and read by whatever comes later.
package settings

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"quartermaster.dev/tests/cluster/internal/address"
)

// Settings are the choices of one cluster.
type Settings struct {
	// Name of the cluster.
	Name string `json:"name"`
	// Block of addresses.
	Block address.Block `json:"block"`
	// BinDir holds the programs of Kubernetes.
	BinDir string `json:"binDir"`
	// Gates are feature gates of API server and controller manager.
	Gates string `json:"gates"`
	// HPASync is how often the autoscaler looks.
	HPASync string `json:"hpaSync"`
	// GPUs is how many fake GPUs the node has.
	GPUs int `json:"gpus"`
	// Fsync makes etcd wait for the disk at each write, as in production.
	Fsync bool `json:"fsync"`
	// Created is when.
	Created time.Time `json:"created"`
}

// Read reads settings from a file.
func Read(path string) (Settings, error) {
	var s Settings
	text, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Write writes settings to a file.
func (s Settings) Write(path string) error { return WriteJSON(path, s) }

// WriteJSON replaces a file by the JSON form of value, in one step: a reader
// sees the old or the new, and a crash leaves no half of it.
func WriteJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(path, append(text, '\n'), 0o600)
}

// WriteFile replaces a file in one step.
func WriteFile(path string, content []byte, mode os.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // does nothing once the file is renamed
	if _, err := file.Write(content); err != nil {
		file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Chmod(file.Name(), mode); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
