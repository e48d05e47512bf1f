package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// schema is what of OpenAPI's schemas the document uses.
type schema struct {
	Ref        string `json:"$ref"`
	Type       string
	Enum       []string
	Items      *schema
	Properties map[string]*schema
	Required   []string
	Additional *bool `json:"additionalProperties"`
}

type operation struct {
	Parameters []struct{ Name, In string }
	Responses  map[string]struct {
		Content map[string]struct{ Schema *schema }
	}
}

type document struct {
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]*schema }
}

func readDocument(t *testing.T) (d document) {
	t.Helper()
	b, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// check says how a value differs from a schema.
func (d *document) check(s *schema, v any) error {
	if s.Ref != "" {
		named := d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
		if named == nil {
			return fmt.Errorf("no schema %s", s.Ref)
		}
		return d.check(named, v)
	}
	ok := true
	switch v := v.(type) {
	case map[string]any:
		ok = s.Type == "object"
		for _, k := range s.Required {
			if _, is := v[k]; !is {
				return fmt.Errorf("%s is missing in %v", k, v)
			}
		}
		for k, field := range v {
			if of := s.Properties[k]; of == nil && s.Additional != nil && !*s.Additional {
				return fmt.Errorf("%s is not documented", k)
			} else if of != nil {
				if err := d.check(of, field); err != nil {
					return fmt.Errorf("%s: %w", k, err)
				}
			}
		}
	case []any:
		ok = s.Type == "array"
		for _, e := range v {
			if err := d.check(s.Items, e); err != nil {
				return err
			}
		}
	case string:
		ok = s.Type == "string" && (s.Enum == nil || slices.Contains(s.Enum, v))
	case float64:
		ok = s.Type == "number" || s.Type == "integer" && v == float64(int64(v))
	case bool:
		ok = s.Type == "boolean"
	}
	if !ok {
		return fmt.Errorf("%v is no %s %q", v, s.Type, s.Enum)
	}
	return nil
}

// TestOpenAPI holds the document to the server: the same routes, filters and
// fields, and every answer with a status and a shape that it has.
func TestOpenAPI(t *testing.T) {
	d := readDocument(t)
	documented, served := map[string]bool{}, map[string]bool{}
	for path, operations := range d.Paths {
		for method := range operations {
			documented[strings.ToUpper(method)+" "+path] = true
		}
	}
	for _, r := range routes {
		served[r.method+" "+r.path] = true
	}
	if !maps.Equal(documented, served) {
		t.Errorf("documented %v, served %v", documented, served)
	}
	var names []string
	for _, p := range d.Paths["/v1/conns"]["get"].Parameters {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	if want := slices.Sorted(maps.Keys(filters)); !slices.Equal(slices.DeleteFunc(names, func(s string) bool { return s == "limit" }), want) {
		t.Errorf("filters documented %v, served %v", names, want)
	}
	for name, v := range map[string]any{
		"Connection": Conn{}, "Health": Health{}, "Losses": Losses{}, "Problem": Problem{}, "Policy": Policy{},
		"Worker": Answer{}, "Which": Which{}, "Killed": Killed{}, "Gate": Gate{}, "Gates": Gates{}, "Opening": Opening{}, "Opened": Opened{}, "Failure": Failure{},
		"Why": Why{}, "Moment": Moment{}, "Fact": Fact{}, "Asked": Asked{}, "WhyPin": WhyPin{}, "WhyGate": WhyGate{}, "Condition": Condition{}, "Verdict": Verdict{}, "Rules": Rules{},
		"Pin": Pin{}, "WhichPin": WhichPin{}, "Pinned": Pinned{}, "Unpinned": Unpinned{},
		"Reloaded": Reloaded{}, "Again": Again{},
	} {
		if got, want := slices.Sorted(maps.Keys(d.Components.Schemas[name].Properties)), fields(v); !slices.Equal(got, want) {
			t.Errorf("%s: fields documented %v, served %v", name, got, want)
		}
	}

	seen := map[string]bool{}
	ask := func(f *daemon, method, path, body string) {
		t.Helper()
		r := f.raw(method, path, body)
		bare, _, _ := strings.Cut(path, "?")
		key := fmt.Sprintf("%s %s %d", method, bare, r.StatusCode)
		response, ok := d.Paths[bare][strings.ToLower(method)].Responses[fmt.Sprint(r.StatusCode)]
		content, typed := response.Content[r.Header.Get("Content-Type")]
		if !ok || !typed {
			t.Errorf("%s, %s is not documented", key, r.Header.Get("Content-Type"))
			return
		}
		seen[key] = true
		if bare == "/v1/events" && r.StatusCode == http.StatusOK {
			return // TestSlowReader reads them
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("%s: %v", key, err)
		}
		for line := range bytes.Lines(b) {
			var v any
			if err := json.Unmarshal(line, &v); err != nil {
				t.Errorf("%s: %s: %v", key, line, err)
			} else if err := d.check(content.Schema, v); err != nil {
				t.Errorf("%s: %v in %s", key, err, line)
			}
		}
	}
	f := start(t, 1)
	for n := range 3 {
		f.open(0, n)
	}
	f.settle(9)
	list, err := f.conns(nil)
	if err != nil || len(list) != 3 {
		t.Fatalf("%d connections, %v", len(list), err)
	}
	kill := fmt.Sprintf(`{"flow_id":%d}`, list[0].FlowID)
	ask(f, "GET", "/v1/conns", "")
	ask(f, "GET", "/v1/conns?port=x", "")
	ask(f, "GET", "/v1/stats", "")
	ask(f, "GET", "/v1/health", "")
	ask(f, "GET", "/v1/events?type=drop", "")
	ask(f, "GET", "/v1/events?type=x", "")
	ask(f, "POST", "/v1/kill", kill)
	ask(f, "POST", "/v1/kill", "x")
	ask(f, "POST", "/v1/kill", `{"flow_id":4711}`)
	ask(f, "GET", "/v1/gates", "")
	ask(f, "POST", "/v1/gates", `{"rule":"quarantine"}`)
	ask(f, "POST", "/v1/gates", `{"rule":"quarantine","close":true}`)
	ask(f, "POST", "/v1/gates", `{"rule":"nobody's"}`)
	ask(f, "POST", "/v1/gates", `{"close":true}`)
	ask(f, "POST", "/v1/gates", `{"flow_id":4711}`)
	ask(f, "POST", "/v1/gates", fmt.Sprintf(`{"flow_id":%d}`, list[1].FlowID))
	ask(f, "GET", fmt.Sprintf("/v1/why?id=%d", list[0].FlowID), "")
	ask(f, "GET", fmt.Sprintf("/v1/why?b=%s&a=%s", client(1), serverEnd), "")
	ask(f, "GET", "/v1/why?id=4711", "")
	ask(f, "GET", "/v1/rules", "")
	ask(f, "GET", "/v1/why", "")
	f.onRefuse = func() error { return errors.New("passed") }
	f.offload(10)
	ask(f, "POST", "/v1/kill", fmt.Sprintf(`{"a":"%s","b":"%s"}`, client(10), serverEnd))
	f.openTo(0, 11, pinnedEnd)
	f.openTo(0, 12, pinnedEnd)
	random := strings.Repeat("0123456789abcdef", 4)
	one := fmt.Sprintf(`{"a":"%s","b":"%s"}`, client(11), pinnedEnd)
	ask(f, "POST", "/v1/pins", one)
	ask(f, "POST", "/v1/pins", `{"rule":"one","client_random":"`+random+`"}`)
	ask(f, "POST", "/v1/pins", `{"rule":"one"}`)
	ask(f, "POST", "/v1/pins", `{"flow_id":4711}`)
	ask(f, "POST", "/v1/pins", one)
	ask(f, "GET", "/v1/pins", "")
	ask(f, "GET", "/v1/pins?rule=one", "")
	ask(f, "GET", "/v1/pins?rule=two", "")
	ask(f, "GET", "/v1/pins?rule=plain", "")
	ask(f, "GET", "/v1/pins?colour=red", "")
	ask(f, "DELETE", "/v1/pins?rule=one&group=port=8443", "")
	ask(f, "DELETE", "/v1/pins?flow_id=4711", "")
	ask(f, "DELETE", "/v1/pins?rule=plain", "")
	ask(f, "DELETE", "/v1/pins?rule=one", "")
	ask(f, "POST", "/v1/reload", "")
	for _, err := range []error{&Failure{Status: 422, Text: "broken"}, &Failure{Status: 409, Text: "fixed"}, errors.New("iptables")} {
		f.onReload = func() error { return err }
		ask(f, "POST", "/v1/reload", "{}")
	}
	dead := start(t, 1, 0)
	ask(dead, "POST", "/v1/pins", one)
	ask(dead, "DELETE", "/v1/pins?rule=one", "")
	ask(dead, "GET", "/v1/conns", "")
	ask(dead, "GET", "/v1/health", "")
	ask(dead, "POST", "/v1/kill", kill)
	ask(dead, "POST", "/v1/gates", `{"rule":"quarantine"}`)
	ask(dead, "GET", "/v1/why?id=1", "")
	for range maxTails {
		f.raw("GET", "/v1/events", "")
	}
	ask(f, "GET", "/v1/events", "")
	// Those who say nothing are sent away after a while: on a slow machine before all
	// have come.
	for _, path := range []string{"/v1/stats", "/v1/pins", "/v1/gates"} {
		for range 10 {
			if ask(f, "GET", path, ""); seen["GET "+path+" 503"] {
				break
			}
			for range maxClients {
				f.dial()
			}
		}
	}
	for path, operations := range d.Paths {
		for method, o := range operations {
			for status := range o.Responses {
				if key := strings.ToUpper(method) + " " + path + " " + status; !seen[key] {
					t.Errorf("%s is documented and was never seen", key)
				}
			}
		}
	}
}

// fields are the JSON names of a struct's fields.
func fields(v any) (names []string) {
	for i := range reflect.TypeOf(v).NumField() {
		if name, _, _ := strings.Cut(reflect.TypeOf(v).Field(i).Tag.Get("json"), ","); name != "-" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
