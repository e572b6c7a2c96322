// Package layout says where a cluster keeps its things. Every other package
// asks it for paths, so that the arrangement is written in one place.
package layout

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// nameRule keeps names fit for a cgroup, a node name and a socket alike.
var nameRule = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$`)

// Cluster is the place of one cluster on this machine.
type Cluster struct {
	// Name is what the user calls the cluster.
	Name string
	// Root is the folder that holds every cluster's folder.
	Root string
	// Dir is this cluster's folder.
	Dir string
	// ID is the name together with a digest of Dir. It names whatever is
	// global to the machine, so that two users' clusters called "demo" do not
	// meet, and so that leftovers are found again even if Dir is gone.
	ID string
}

// New describes the cluster of the given name. It touches nothing.
func New(name string) (Cluster, error) {
	if !nameRule.MatchString(name) {
		return Cluster{}, fmt.Errorf("%q cannot name a cluster: use up to 20 small letters, digits and hyphens, starting with a letter", name)
	}
	root, err := stateRoot()
	if err != nil {
		return Cluster{}, err
	}
	dir := filepath.Join(root, name)
	return Cluster{Name: name, Root: root, Dir: dir, ID: name + "-" + digest(dir)[:6]}, nil
}

// stateRoot is the folder of all clusters: QUARTERMASTER_STATE, or the place
// that the XDG convention gives to state.
func stateRoot() (string, error) {
	if root := os.Getenv("QUARTERMASTER_STATE"); root != "" {
		return filepath.Abs(root)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("cannot tell where to keep state; set QUARTERMASTER_STATE: %w", err)
	}
	return filepath.Join(home, ".local", "state", "quartermaster"), nil
}

// CacheRoot is the folder for what survives every cluster: the built programs.
func CacheRoot() (string, error) {
	if cache := os.Getenv("XDG_CACHE_HOME"); cache != "" {
		return filepath.Join(cache, "quartermaster"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("cannot tell where to keep built programs; set XDG_CACHE_HOME: %w", err)
	}
	return filepath.Join(home, ".cache", "quartermaster"), nil
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Link is the host's end of the cable to the node. Interface names hold at
// most 15 characters, so the cluster's name does not fit; the link carries it
// as its alias.
func (c Cluster) Link() string { return "qm-" + digest(c.Dir)[:8] }

// Cgroup is the cluster's folder in each cgroup hierarchy.
func (c Cluster) Cgroup() string { return "quartermaster-" + c.ID }

// NodeName is the name of the one node that runs pods.
func (c Cluster) NodeName() string { return c.Name + "-node" }

func (c Cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.Dir}, parts...)...)
}

// Settings is the file with the choices made when the cluster was created.
func (c Cluster) Settings() string { return c.path("cluster.json") }

// Kubeconfig is the administrator's, for use on the host.
func (c Cluster) Kubeconfig() string { return c.path("kubeconfig") }

// Program is the copy of this program that the node runs. A copy, because
// `go run` deletes its own when it ends, and a rebuilt one may differ.
func (c Cluster) Program() string { return c.path("bin", "cluster") }

// PKI is the path of a certificate or key.
func (c Cluster) PKI(file string) string { return c.path("pki", file) }

// Conf is the path of a component's configuration file.
func (c Cluster) Conf(file string) string { return c.path("conf", file) }

// Log is the log file of a component.
func (c Cluster) Log(component string) string { return c.path("logs", component+".log") }

// Audit is the API server's audit log.
func (c Cluster) Audit() string { return c.path("audit", "audit.log") }

// Data is a folder that a component fills.
func (c Cluster) Data(component string) string { return c.path("data", component) }

// Hold is where the node, in its private /run, keeps what it needs for itself.
const Hold = "/run/quartermaster"

// HeldDir is this cluster's folder as the node sees it besides Dir.
const HeldDir = Hold + "/state"

// NodeData is the same folder as Data by the way that only the node knows. It
// is short whatever the length of Dir, and so fits the components that make
// sockets below: a socket's path holds 108 bytes.
func (c Cluster) NodeData(component string) string { return filepath.Join(HeldDir, "data", component) }

// Images is where image archives made for the node itself are kept.
func (c Cluster) Images(file string) string { return c.path("images", file) }

// Init is the record of the node's first process.
func (c Cluster) Init() string { return c.path("run", "init.json") }

// Socket is where the node's first process takes commands.
func (c Cluster) Socket() string { return c.path("run", "node.sock") }

// Folders lists what must exist before anything starts.
func (c Cluster) Folders() []string {
	folders := []string{c.Dir}
	for _, name := range []string{"bin", "pki", "conf", "logs", "audit", "data", "images", "run"} {
		folders = append(folders, c.path(name))
	}
	return folders
}
