package labtest

import (
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"
)

// BigTCP has a link make, and put together, packets of this size. run calls a function
// inside the link's host.
func BigTCP(t testing.TB, run func(func() error) error, name string, size int) {
	t.Helper()
	err := run(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		for _, set := range []func(netlink.Link, int) error{
			netlink.LinkSetGSOMaxSize, netlink.LinkSetGSOIPv4MaxSize, netlink.LinkSetGROMaxSize, netlink.LinkSetGROIPv4MaxSize,
		} {
			if err := set(link, size); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		Missing(t, fmt.Errorf("missing in the kernel: BIG TCP: %w", err))
	}
}
