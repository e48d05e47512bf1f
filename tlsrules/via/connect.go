package via

import (
	"bytes"
	"strconv"

	"tlsgate/tlsrules/tlswire"
)

// httpState follows CONNECT requests and their responses on one connection.
type httpState struct {
	waiting uint16 // CONNECTs without a final response
	headers bool   // of a request
	answer  httpAnswer
	code    int // of the response at hand
	length  uint64
	sized   bool // length is known
	chunked bool
	closes  bool // the response's body ends with the connection
}

type httpAnswer uint8

const (
	answerStatus httpAnswer = iota
	answerHeaders
	answerChunk
	answerChunkEnd
	answerTrailers
)

// httpRequest takes a line of the client. A line that is no CONNECT may be the
// tunnel's already: its proxy has not answered yet.
func (c *Conn) httpRequest(line []byte) Status {
	h := &c.http
	if h.headers {
		h.headers = len(line) > 0
		return NeedMore
	}
	if authority, ok := bytes.CutPrefix(line, []byte("CONNECT ")); ok {
		authority, _, _ = bytes.Cut(authority, []byte(" "))
		c.Tunnel = parseAuthority(authority)
		if h.waiting++; h.waiting > maxDepth {
			return TooDeep
		}
		h.headers = true
		return NeedMore
	}
	switch {
	case len(line) == 0:
	case h.waiting > 0:
		c.early = true
	default: // another request, in clear
		return c.lose()
	}
	return NeedMore
}

// httpResponse takes a line of the proxy (RFC 9112).
func (c *Conn) httpResponse(line []byte) Status {
	h := &c.http
	switch h.answer {
	case answerStatus:
		if len(line) == 0 || h.closes {
			return NeedMore
		}
		code, ok := statusCode(line)
		if !ok || h.waiting == 0 {
			return c.lose()
		}
		h.answer, h.code = answerHeaders, code
		h.length, h.sized, h.chunked = 0, false, false
	case answerHeaders:
		if len(line) > 0 {
			h.header(line)
			return NeedMore
		}
		return c.respond()
	case answerChunk:
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 62)
		switch {
		case err != nil:
			return c.lose()
		case n == 0:
			h.answer = answerTrailers
		default:
			h.answer = answerChunkEnd
			c.message(tlswire.Server, n)
		}
	case answerChunkEnd:
		h.answer = answerChunk
	case answerTrailers:
		if len(line) == 0 {
			h.answer = answerStatus
		}
	}
	return NeedMore
}

// respond takes the end of a response's header. A tunnel begins there, whatever
// length it told (RFC 9110, Section 9.3.6).
func (c *Conn) respond() Status {
	h := &c.http
	h.answer = answerStatus
	switch {
	case h.code < 200:
		return NeedMore
	case h.code < 300:
		if h.waiting--; h.waiting == 0 {
			return c.tunnel(Connect)
		}
		// What came early is for the next proxy.
		if !c.lead(Connect) {
			return TooDeep
		}
		return NeedMore
	}
	h.waiting--
	switch {
	case h.chunked:
		h.answer = answerChunk
	case h.sized:
		c.message(tlswire.Server, h.length)
	default:
		h.closes = true
	}
	return NeedMore
}

// statusCode reads a status line: "HTTP/1.1 200 Connection established".
func statusCode(line []byte) (code int, ok bool) {
	if !bytes.HasPrefix(line, []byte("HTTP/1.")) || len(line) < 12 || line[8] != ' ' {
		return 0, false
	}
	code, err := strconv.Atoi(string(line[9:12]))
	return code, err == nil && code >= 100
}

func (h *httpState) header(line []byte) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimSpace(value)
	switch {
	case bytes.EqualFold(name, []byte("Content-Length")):
		n, err := strconv.ParseUint(string(value), 10, 62)
		h.length, h.sized = n, err == nil
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		h.chunked = bytes.HasSuffix(bytes.ToLower(value), []byte("chunked"))
	}
}
