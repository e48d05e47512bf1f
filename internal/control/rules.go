package control

import (
	"context"
	"net/http"
)

// Rules are the names of the rules in force, in order.
type Rules struct {
	Rules []string `json:"rules"`
}

func (s *Server) rules(w http.ResponseWriter, _ *http.Request) error {
	r := Rules{Rules: []string{}}
	if s.d.Rules != nil {
		r.Rules = s.d.Rules().Names()
	}
	return reply(w, http.StatusOK, &r)
}

// Rules asks for the names of the rules in force.
func (c *Client) Rules(ctx context.Context) (r Rules, err error) {
	answer, err := c.do(ctx, "GET", "/v1/rules", nil, nil)
	if err != nil {
		return r, err
	}
	return r, c.answerOf(answer, &r)
}
