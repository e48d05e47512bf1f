package events

import (
	"maps"
	"slices"

	"tlsgate/conntrack"
	"tlsgate/conntrack/packet"
	"tlsgate/internal/engine"
	"tlsgate/nfq"
)

// Stats are the counters of a daemon, all workers together.
type Stats struct {
	Time    int64 // nanoseconds since the Unix epoch
	Uptime  int64 // seconds
	Workers int
	Engine  engine.Stats
	Queue   nfq.Stats
	Lost    uint64 // events
	Process Process
	Policy  Policy
}

// Policy is the policy in force.
type Policy struct {
	SHA256  string
	Loaded  int64 // nanoseconds since the Unix epoch
	Reloads uint64
}

// Process is what the daemon takes of its host at one moment.
type Process struct {
	Goroutines uint64
	HeapBytes  uint64 // in use, and garbage that was not collected yet
	LiveBytes  uint64 // of those, what the last collection found in use
	RSSBytes   uint64
	FDs        uint64 // file descriptors
}

// stats is EVE's stats object: uptime, then groups of counters.
type stats struct {
	Uptime  int64             `json:"uptime"`
	Workers int               `json:"workers"`
	Queue   map[string]uint64 `json:"queue"`
	Packets map[string]uint64 `json:"packets"`
	Dropped map[string]uint64 `json:"dropped"`
	Invalid map[string]uint64 `json:"invalid,omitempty"`   // by why their receiver would discard them
	Broken  map[string]uint64 `json:"malformed,omitempty"` // by what is wrong with their headers
	Conns   map[string]uint64 `json:"connections"`
	Pins    map[string]uint64 `json:"pins"`
	Memory  map[string]uint64 `json:"memory"`
	Limits  map[string]uint64 `json:"limits"` // how often each was hit, by its name in the policy
	Events  map[string]uint64 `json:"events"`
	Process map[string]uint64 `json:"process"`
	Policy  policy            `json:"policy"`
}

type policy struct {
	SHA256  string `json:"sha256"`
	Loaded  string `json:"loaded"`
	Reloads uint64 `json:"reloads"`
}

func statsEvent(s *Stats) *event {
	e, q := &s.Engine, &s.Queue
	dropped := map[string]uint64{}
	for _, why := range engine.DropReasons() {
		dropped[why.String()] = e.Dropped[why]
	}
	refused := uint64(0)
	for _, errno := range slices.Sorted(maps.Keys(q.VerdictErrors)) {
		refused += q.VerdictErrors[errno]
	}
	return &event{
		Timestamp: timestamp(s.Time), Type: "stats",
		Stats: &stats{
			Uptime: s.Uptime, Workers: s.Workers,
			Queue: map[string]uint64{
				"received": q.Received, "verdicts": q.Verdicts, "verdicts_refused": refused,
				"kernel_dropped": q.KernelDropped, "user_dropped": q.UserDropped, "missed": q.Missed,
				"overruns": q.Overruns, "waiting": q.Waiting, "malformed": q.Malformed,
				"injected": q.Injected, "inject_errors": q.InjectErrors,
			},
			Packets: map[string]uint64{
				"seen": e.Packets, "bytes": e.Bytes, "not_tcp": e.NotTCP,
				"overlaps": e.Overlaps, "unkept": e.Unkept, "mptcp_stripped": e.MPTCPStripped, "bugs": e.Bugs,
			},
			Dropped: dropped,
			Invalid: counted(e.Invalid[:], func(i int) string { return conntrack.Reason(i).String() }),
			Broken:  counted(e.Malformed[:], func(i int) string { return packet.Status(i).String() }),
			Conns: map[string]uint64{
				"open": e.Connections, "half_open": e.HalfOpen, "resting": e.Resting, "seen": e.ConnectionsSeen, "tls": e.TLSConnections, "midstream": e.Midstream,
				"accepted": e.Accepted, "refused": e.Refused, "killed": e.Killed, "observed": e.Observed, "offloaded": e.Offloaded,
				"alerts": e.Alerts, "alerts_too_late": e.AlertsTooLate, "resets_once": e.ResetsOnce, "refused_earlier": e.RefusedEarlier,
				"resumed_known": e.ResumedKnown, "resumed_unknown": e.ResumedUnknown,
				"grace_midstream": e.GraceMidstream, "grace_resumed": e.GraceResumed,
				"held": e.Held, "holding": e.Holding, "holds_expired": e.HoldsExpired,
				"judged_again": e.JudgedAgain, "refused_again": e.RefusedAgain, "stood": e.Stood,
				"evicted": e.Evicted, "table_full": e.TableFull, "unread": e.Unread,
				"ambiguous": e.Ambiguous, "forgotten": e.Forgotten,
			},
			Pins: map[string]uint64{
				"held": e.Pins, "taken": e.PinsTaken, "shared": e.PinsShared, "refused": e.PinsRefused,
				"moved": e.PinsMoved, "released": e.PinsReleased, "unnoted": e.PinsUnnoted,
			},
			Memory: map[string]uint64{"buffered": e.Buffered, "certificates": e.Certificates, "sessions": e.Sessions, "refused": e.RefusedPairs, "refused_unnoted": e.RefusedUnnoted},
			Limits: map[string]uint64{
				"connections": e.Hit.Connections, "half_open": e.Hit.HalfOpen, "buffered": e.Hit.Buffered,
				"hello": e.Hit.Hello, "decide": e.Hit.Decide, "tunnels": e.Hit.Tunnels,
				"sessions": e.Hit.Sessions, "pins": e.PinsUnnoted, "refused": e.RefusedUnnoted,
			},
			Events: map[string]uint64{"lost": s.Lost},
			Policy: policy{s.Policy.SHA256, timestamp(s.Policy.Loaded), s.Policy.Reloads},
			Process: map[string]uint64{
				"goroutines": s.Process.Goroutines, "heap_bytes": s.Process.HeapBytes,
				"heap_live_bytes": s.Process.LiveBytes, "rss_bytes": s.Process.RSSBytes, "fds": s.Process.FDs,
			},
		},
	}
}

// counted names the counters that are not zero.
func counted(counters []uint64, name func(int) string) map[string]uint64 {
	named := map[string]uint64{}
	for i, n := range counters {
		if n > 0 {
			named[name(i)] = n
		}
	}
	return named
}
