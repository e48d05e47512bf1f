package nfq

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// dial opens a netfilter netlink socket and makes sure that we may configure
// queues with it and that the kernel has any.
func dial() (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, socketError("open netlink socket", err)
	}
	if err := configure(conn, 0, netlink.Acknowledge, command(commandProbe)); err != nil {
		conn.Close()
		return nil, socketError("reach nfnetlink_queue", err)
	}
	return conn, nil
}

// bind takes the queue. Packets come as soon as it returns: so nothing can be
// acknowledged any more, as the reply would have to be looked for among them.
// The last request cannot fail but for want of memory; until it has been heard
// the kernel drops what it should queue.
func bind(conn *netlink.Conn, cfg Config) error {
	if err := configure(conn, cfg.Number, netlink.Acknowledge, command(commandBind)); err != nil {
		return bindError(cfg.Number, err)
	}
	err := configure(conn, cfg.Number, netlink.Acknowledge,
		number32(configMaxLen, cfg.MaxLen),
		number32(configMask, flagFailOpen|flagGSO),
		number32(configFlags, cfg.flags()))
	if err != nil {
		return socketError(fmt.Sprintf("configure queue %d", cfg.Number), err)
	}
	params := append(binary.BigEndian.AppendUint32(nil, copyRange), copyPacket)
	err = configure(conn, cfg.Number, 0, netlink.Attribute{Type: configParams, Data: params})
	return wrap(fmt.Sprintf("start queue %d", cfg.Number), err)
}

// flags are the NFQA_CFG_F_ flags of both backends.
func (cfg Config) flags() uint32 {
	if cfg.FailOpen {
		return flagGSO | flagFailOpen
	}
	return flagGSO
}

func command(cmd byte) netlink.Attribute {
	return netlink.Attribute{Type: configCommand, Data: []byte{cmd, 0, 0, 0}}
}

func number32(kind uint16, v uint32) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: binary.BigEndian.AppendUint32(nil, v)}
}

// configure sends one NFQNL_MSG_CONFIG, and waits for the answer if the flags
// ask for one.
func configure(conn *netlink.Conn, queue uint16, flags netlink.HeaderFlags, attrs ...netlink.Attribute) error {
	data, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return err
	}
	m := netlink.Message{
		Header: netlink.Header{Type: msgConfig, Flags: netlink.Request | flags},
		Data:   append(binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0}, queue), data...),
	}
	if flags&netlink.Acknowledge == 0 {
		_, err = conn.Send(m)
		return err
	}
	_, err = conn.Execute(m)
	return err
}
