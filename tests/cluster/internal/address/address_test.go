package address

import (
	"net/netip"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	everyTen := netip.MustParsePrefix("10.0.0.0/8")
	tests := []struct {
		name string
		seed uint32
		used []string
		want Block
	}{
		{"free", 0, nil, Block{10, 200}},
		{"seed spreads", 7, nil, Block{10, 207}},
		{"seed wraps", 57, nil, Block{10, 207}},
		{"smaller route inside", 0, []string{"10.200.3.0/24"}, Block{10, 201}},
		{"wraps past the end", 49, []string{"10.249.0.0/16"}, Block{10, 200}},
		{"all of ten is routed", 3, []string{everyTen.String()}, Block{172, 20}},
		{"docker and ten", 3, []string{everyTen.String(), "172.16.0.0/12"}, Block{198, 18}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var used []netip.Prefix
			for _, text := range test.used {
				used = append(used, netip.MustParsePrefix(text))
			}
			got, err := Choose(test.seed, used)
			if err != nil || got != test.want {
				t.Fatalf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
	if _, err := Choose(0, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1")}); err == nil {
		t.Fatal("a machine without room must be refused")
	}
}

func TestPartsOfABlockAreApart(t *testing.T) {
	block := Block{10, 213}
	link := netip.PrefixFrom(block.Host(), LinkBits).Masked()
	parts := []netip.Prefix{link, block.Pods(), block.Services()}
	for i, part := range parts {
		if !block.All().Contains(part.Addr()) {
			t.Errorf("%v is outside of %v", part, block.All())
		}
		for _, other := range parts[i+1:] {
			if part.Overlaps(other) {
				t.Errorf("%v overlaps %v", part, other)
			}
		}
	}
	if !link.Contains(block.Node()) || !block.Services().Contains(block.DNS()) || !block.Services().Contains(block.APIService()) {
		t.Error("an address lies outside of its range")
	}
	if !block.Pods().Contains(block.NodePods().Addr()) {
		t.Error("the node's pods lie outside of the pods' range")
	}
}

func TestParseRoutes(t *testing.T) {
	table := `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
qm	0000D50A	00000000	0001	0	0	0	FCFFFFFF	0	0	0
`
	got, err := ParseRoutes(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"192.0.2.0/24", "10.213.0.0/30"}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i].String() != want[i] {
			t.Errorf("got %v, want %v", got[i], want[i])
		}
	}
	if _, err := ParseRoutes(strings.NewReader("head\neth0 zz 0 0 0 0 0 00000000\n")); err == nil {
		t.Error("nonsense must be refused")
	}
}
