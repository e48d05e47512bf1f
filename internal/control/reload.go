package control

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// reloadWait is how long a reload may take: iptables waits for others of its kind, for
// ten seconds at most, and connections are waited for that are judged again.
const reloadWait = time.Minute

// Reloaded says what came of reading the policy file again.
type Reloaded struct {
	// Changed is false where the file is the policy in force: nothing was done.
	Changed     bool     `json:"changed"`
	Policy      Policy   `json:"policy"` // in force now
	Connections Again    `json:"connections"`
	Rules       string   `json:"iptables"`
	Warnings    []string `json:"warnings"`
	Text        string   `json:"text"`
}

// What a reload finds of the iptables rules.
const (
	RulesFit       = "fit"       // those in place are the policy's
	RulesExchanged = "exchanged" // they are now
	RulesDiffer    = "differ"    // they are another policy's, or none are in place
	RulesUnknown   = "unknown"   // they could not be read
)

// Again counts the connections that a new policy has judged again.
type Again struct {
	Judged  uint64 `json:"judged"`
	Refused uint64 `json:"refused"`
	Stood   uint64 `json:"stood"`
	Beyond  uint64 `json:"beyond"`
	// Done is false if there are more to come.
	Done bool `json:"done"`
}

// reload has the daemon read its policy file again. Who asks and goes away does not
// leave it half done.
func (s *Server) reload(w http.ResponseWriter, q *http.Request) error {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(reloadWait + writeWait))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(q.Context()), reloadWait)
	defer cancel()
	r, err := s.d.Reload(ctx)
	var f *Failure
	switch {
	case errors.As(err, &f):
		return f
	case err != nil:
		return &Failure{Status: http.StatusServiceUnavailable, Text: err.Error(), Help: "the policy that was in force is"}
	}
	return reply(w, http.StatusOK, r)
}

// Reload has the daemon read its policy file again.
func (c *Client) Reload(ctx context.Context) (r Reloaded, err error) {
	resp, err := c.do(ctx, "POST", "/v1/reload", nil, nil)
	if err != nil {
		return r, err
	}
	return r, c.answerOf(resp, &r)
}
