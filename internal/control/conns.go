package control

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tlsgate/conntrack"
	"tlsgate/internal/engine"
	"tlsgate/tlsrules"
	"tlsgate/tlsrules/suites"
	"tlsgate/tlsrules/tlswire"
)

// conns writes the connections that fit, a line each. It asks for the next piece
// of a table once the last one is written: who reads slowly makes nobody else wait.
func (s *Server) conns(w http.ResponseWriter, q *http.Request) error {
	f, limit, err := filterOf(q.URL.Query(), s.d.Clock())
	if err != nil {
		return &Failure{Status: http.StatusBadRequest, Text: err.Error()}
	}
	if err := s.ping(q.Context()); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriterSize(w, 32<<10)
	rc := http.NewResponseController(w)
	if err := rc.Flush(); err != nil { // who asks for few of many waits for the first
		return err
	}
	left := limit
	var piece []engine.Seen
	var line []byte
	for i := range s.d.Workers {
		for place := 0; place >= 0; {
			if piece, place, err = s.piece(q.Context(), i, place, f, piece[:0]); err != nil {
				return fmt.Errorf("listing: %w", err)
			}
			rc.SetWriteDeadline(time.Now().Add(writeWait))
			now := s.d.Clock()
			for j := range piece {
				line = appendConn(line[:0], &piece[j], now)
				if _, err := out.Write(line); err != nil {
					return err
				}
				if left--; left == 0 {
					return out.Flush()
				}
			}
		}
	}
	return out.Flush()
}

func (s *Server) piece(ctx context.Context, i, place int, f *engine.Filter, piece []engine.Seen) ([]engine.Seen, int, error) {
	ctx, cancel := context.WithTimeout(ctx, workerWait)
	defer cancel()
	return s.d.Workers[i].Engine.List(ctx, place, f, piece)
}

// ping makes sure that all workers answer, before an answer begins.
func (s *Server) ping(ctx context.Context) error {
	for i, a := range s.answers(ctx) {
		if a.err != nil {
			return s.unanswered(i, a.err)
		}
	}
	return nil
}

// filters are what may be asked for, and how it is read.
var filters = map[string]func(f *engine.Filter, v string, now int64) error{
	"id": func(f *engine.Filter, v string, _ int64) (err error) {
		f.ID, err = strconv.ParseUint(v, 10, 64)
		return err
	},
	"source": func(f *engine.Filter, v string, _ int64) (err error) {
		f.Source, err = parsePrefix(v)
		return err
	},
	"destination": func(f *engine.Filter, v string, _ int64) (err error) {
		f.Destination, err = parsePrefix(v)
		return err
	},
	"port": func(f *engine.Filter, v string, _ int64) error {
		n, err := strconv.ParseUint(v, 10, 16)
		f.Port = uint16(n)
		return err
	},
	"sni": func(f *engine.Filter, v string, _ int64) error {
		f.ServerName = strings.ToLower(v)
		if i := strings.LastIndexByte(v, '*'); i > 0 || i == 0 && !strings.HasPrefix(v, "*.") {
			return fmt.Errorf(`a star stands only at the beginning, as in "*.example"`)
		}
		return nil
	},
	"rule": func(f *engine.Filter, v string, _ int64) error { f.Rule = v; return nil },
	"verdict": func(f *engine.Filter, v string, _ int64) error {
		f.Verdict = v
		return oneOf(v, tlsrules.Accept.String(), tlsrules.Drop.String(), tlsrules.Reset.String(), "hold", "undecided")
	},
	"phase": func(f *engine.Filter, v string, _ int64) error {
		f.Phase = v
		var all []string
		for p := tlswire.PhaseStart; p <= tlswire.PhaseApplicationData; p++ {
			all = append(all, p.String())
		}
		return oneOf(v, all...)
	},
	"state": func(f *engine.Filter, v string, _ int64) error {
		f.State = strings.ToUpper(v)
		var all []string
		for s := conntrack.SynSent; s <= conntrack.SynSent2; s++ {
			all = append(all, s.String())
		}
		return oneOf(f.State, all...)
	},
	"cipher": func(f *engine.Filter, v string, _ int64) error {
		suite, ok := suites.Lookup(v)
		if !ok {
			return fmt.Errorf("no such suite")
		}
		f.Cipher, f.HasCipher = suite.Code, true
		return nil
	},
	"version": func(f *engine.Filter, v string, _ int64) (err error) {
		var ok bool
		if f.Version, ok = suites.ParseVersion(v); !ok {
			return fmt.Errorf(`write for example "1.2" or "1.3"`)
		}
		return nil
	},
	"min_age": func(f *engine.Filter, v string, now int64) error {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return fmt.Errorf(`write for example "30s" or "5m"`)
		}
		f.StartedBefore = cmp.Or(now-int64(d), 1)
		return nil
	},
}

// filterOf reads a query; limit 0 is none.
func filterOf(query url.Values, now int64) (f *engine.Filter, limit int, err error) {
	f = &engine.Filter{}
	for k, v := range query {
		read, known := filters[k]
		switch {
		case len(v) != 1:
			return nil, 0, fmt.Errorf("%s: is there twice", k)
		case k == "limit":
			limit, err = strconv.Atoi(v[0])
			if err != nil || limit < 0 {
				return nil, 0, fmt.Errorf("limit: %q is not a number", v[0])
			}
		case !known:
			return nil, 0, fmt.Errorf("%s: nothing can be filtered by that", k)
		default:
			if err := read(f, v[0], now); err != nil {
				return nil, 0, fmt.Errorf("%s: %q: %w", k, v[0], bareNumber(err))
			}
		}
	}
	return f, limit, nil
}

func oneOf(v string, all ...string) error {
	if !slices.Contains(all, v) {
		return fmt.Errorf("one of: %s", strings.Join(all, ", "))
	}
	return nil
}

// parsePrefix reads a network or an address.
func parsePrefix(v string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(v); err == nil {
		return netip.PrefixFrom(a.WithZone(""), a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(v)
	if err != nil {
		return p, fmt.Errorf(`write for example "192.0.2.0/24" or "2001:db8::1"`)
	}
	return p.Masked(), nil
}

// bareNumber says what is wrong with a number in our words.
func bareNumber(err error) error {
	if _, ok := err.(*strconv.NumError); ok {
		return fmt.Errorf("is no such number")
	}
	return err
}
