// Package address gives each cluster a block of IPv4 addresses that nothing
// else on the machine uses, and divides it.
package address

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// Block is a cluster's /16. Its first addresses are the cable between host and
// node, its second quarter is for pods and its second half for services.
type Block struct {
	A, B byte
}

func (c Block) addr(third, fourth byte) netip.Addr {
	return netip.AddrFrom4([4]byte{c.A, c.B, third, fourth})
}

func (c Block) prefix(third byte, bits int) netip.Prefix {
	return netip.PrefixFrom(c.addr(third, 0), bits)
}

// All is the whole block.
func (c Block) All() netip.Prefix { return c.prefix(0, 16) }

// LinkBits is the length of the prefix that host and node share.
const LinkBits = 30

// Host is the host's end of the cable.
func (c Block) Host() netip.Addr { return c.addr(0, 1) }

// Node is the node's end of the cable: the API server's and kubelet's address.
func (c Block) Node() netip.Addr { return c.addr(0, 2) }

// Pods is the range for pods of all nodes.
func (c Block) Pods() netip.Prefix { return c.prefix(64, 18) }

// NodePods is the part of Pods that the one real node hands out.
func (c Block) NodePods() netip.Prefix { return c.prefix(64, 24) }

// Services is the range for cluster addresses of services: enough for the
// thousands of pools of a measurement.
func (c Block) Services() netip.Prefix { return c.prefix(128, 17) }

// APIService is the cluster address of the service `kubernetes`, which the API
// server always puts first in the range.
func (c Block) APIService() netip.Addr { return c.addr(128, 1) }

// DNS is the cluster address of the name service, by custom the tenth.
func (c Block) DNS() netip.Addr { return c.addr(128, 10) }

// candidates lists the blocks to try. Most are from the private range least
// often used at home; the others help where a VPN routes all of 10.0.0.0/8.
func candidates() []Block {
	var blocks []Block
	for b := byte(200); b < 250; b++ {
		blocks = append(blocks, Block{10, b})
	}
	for b := byte(20); b < 32; b++ {
		blocks = append(blocks, Block{172, b})
	}
	return append(blocks, Block{198, 18}, Block{198, 19})
}

// Choose picks a block that overlaps no prefix in use. Seed spreads clusters
// over the first fifty, so that one usually keeps its addresses when it is
// made anew, whatever else is up.
func Choose(seed uint32, used []netip.Prefix) (Block, error) {
	all := candidates()
	turn := int(seed % 50)
	order := append(append([]Block{}, all[turn:50]...), all[:turn]...)
	for _, block := range append(order, all[50:]...) {
		if !overlapsAny(block.All(), used) {
			return block, nil
		}
	}
	return Block{}, fmt.Errorf("no free block of addresses: all %d candidates overlap a route of this machine", len(all))
}

func overlapsAny(prefix netip.Prefix, used []netip.Prefix) bool {
	for _, other := range used {
		if prefix.Overlaps(other) {
			return true
		}
	}
	return false
}

// ParseRoutes reads the kernel's routing table as /proc/net/route shows it,
// and leaves out the default route, which overlaps everything.
func ParseRoutes(table io.Reader) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	lines := bufio.NewScanner(table)
	for first := true; lines.Scan(); first = false {
		if first {
			continue // the heading
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 {
			continue
		}
		destination, err := parseAddr(fields[1])
		if err != nil {
			return nil, err
		}
		mask, err := parseAddr(fields[7])
		if err != nil {
			return nil, err
		}
		if bits := leadingOnes(mask); bits > 0 {
			prefixes = append(prefixes, netip.PrefixFrom(destination, bits))
		}
	}
	return prefixes, lines.Err()
}

// parseAddr reads an address in the kernel's notation: hexadecimal, in the
// byte order of the machine, which is little-endian wherever this runs.
func parseAddr(text string) (netip.Addr, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 4 {
		return netip.Addr{}, fmt.Errorf("%q is not an address of the routing table", text)
	}
	return netip.AddrFrom4([4]byte{raw[3], raw[2], raw[1], raw[0]}), nil
}

func leadingOnes(mask netip.Addr) int {
	raw := mask.As4()
	bits := 0
	for value := binary.BigEndian.Uint32(raw[:]); value&(1<<31) != 0; value <<= 1 {
		bits++
	}
	return bits
}
