package suites

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// expressions are the cipher lists of testdata.
func expressions(tb testing.TB) (list []string) {
	tb.Helper()
	b, err := os.ReadFile("testdata/expressions.txt")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSuffix(line, "\n"); !strings.HasPrefix(line, "#") {
			list = append(list, line)
		}
	}
	if len(list) < 200 {
		tb.Fatalf("%d expressions", len(list))
	}
	return list
}

// answer is what a release makes of an expression, as testdata has it.
func answer(r *release, expression string) string {
	e, err := r.expand(expression)
	if err != nil {
		return "error"
	}
	return strings.Trim(fmt.Sprintf("%04X", e.Codes), "[]")
}

// TestExpandsAsOpenSSL compares with what the libraries themselves returned:
// 3.0.19, 3.5.8, 1.1.1g, 1.0.2s and 1.0.2d, a line for each expression.
func TestExpandsAsOpenSSL(t *testing.T) {
	asked := expressions(t)
	for i := range releases {
		r := &releases[i]
		b, err := os.ReadFile("testdata/openssl-" + r.name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		if len(lines) != len(asked) {
			t.Fatalf("OpenSSL %s answered %d of %d expressions", r.name, len(lines), len(asked))
		}
		for j, line := range lines {
			expression, want, _ := strings.Cut(line, "\t")
			if expression != asked[j] {
				t.Fatalf("OpenSSL %s, answer %d is to %q, want %q", r.name, j+1, expression, asked[j])
			}
			if got := answer(r, expression); got != want {
				t.Errorf("OpenSSL %s, %q:\n got %s\nwant %s", r.name, expression, got, want)
			}
		}
	}
}

func TestCipherListErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"openssl:", `has no cipher list behind the colon; for OpenSSL's own default write "openssl:DEFAULT"`},
		{"openssl: ", `has no cipher list behind the colon; for OpenSSL's own default write "openssl:DEFAULT"`},
		{"openssl:RC4", `selects no suite of OpenSSL 3.0; OpenSSL 1.0.2 has some: "openssl-1.0.2:..."`},
		{"openssl:EXPORT", `selects no suite of OpenSSL 3.0; OpenSSL 1.0.2d has some: "openssl-1.0.2d:..."`},
		{"openssl-1.0.2:CHACHA20", `selects no suite of OpenSSL 1.0.2; OpenSSL 3.0 has some: "openssl-3.0:..."`},
		{"openssl:ALL:!ALL", "selects no suite of OpenSSL 3.0"},
		{"openssl:hgih", `selects no suite of OpenSSL 3.0, which does not know "hgih"; did you mean "HIGH"?`},
		{"openssl:kFZA", "selects no suite of OpenSSL 3.0"},
		{"openssl:ALL:!", `has "!" without a word behind it`},
		{"openssl:ALL:+:AES", `has "+" without a word behind it`},
		{"openssl:AES+", `has "AES+" without a word behind it`},
		{"openssl:ALL:@", `has "@" without a word behind it`},
		{"openssl:ALL:AES_GCM", `has "_" where OpenSSL wants a word, in "_GCM"`},
		{"openssl:[AES128-SHA|AES256-SHA]", `has "[" where OpenSSL wants a word, in "[AES128-SHA|AES256-SHA]"; groups of equal preference are BoringSSL's`},
		{"openssl:ALL:AES128\x00", `has "\x00" where OpenSSL wants a word, in "\x00"`},
		{"openssl:ALL:@STRENGHT", `has "@STRENGHT", which OpenSSL 3.0 refuses; did you mean "@STRENGTH"?`},
		{"openssl-1.0.2:ALL:@SECLEVEL=1", `has "@SECLEVEL", which OpenSSL 1.0.2 refuses; commands are @STRENGTH`},
		{"openssl:ALL:@SECLEVEL=9", `has "@SECLEVEL=9", and levels are 0 to 5`},
		{"openssl-2.0:ALL", `names a release of OpenSSL that is not known: "openssl-2.0"; known are openssl-3.0 (also openssl:), openssl-3.5, openssl-1.1.1, openssl-1.0.2, and openssl-1.0.2d for before 1.0.2g`},
	} {
		_, err := Expand(tt.in)
		var bad *ExpressionError
		if !errors.As(err, &bad) || err.Error() != tt.want {
			t.Errorf("%q: got %v, want %s", tt.in, err, tt.want)
		}
	}
}

// TestIgnoredWords: OpenSSL reads over these, and we say so.
func TestIgnoredWords(t *testing.T) {
	for _, tt := range []struct {
		in    string
		want  []Ignored
		notes int
	}{
		{"openssl:HIGH:!aNUL", []Ignored{{"aNUL", `did you mean "aNULL"?`}}, 0},
		{"openssl:HIGH:!anull", []Ignored{{"anull", `case counts: "aNULL"`}}, 0},
		{"openssl:AES128-SHA:ECDHE-RSA-AES128-GCM-SHA265", []Ignored{{"ECDHE-RSA-AES128-GCM-SHA265", `did you mean "ECDHE-RSA-AES128-GCM-SHA256"?`}}, 0},
		{"openssl:AES128-SHA:TLS_RSA_WITH_AES_256_CBC_SHA", []Ignored{{"TLS_RSA_WITH_AES_256_CBC_SHA", `OpenSSL takes its own names, and case counts: "AES256-SHA"`}}, 0},
		{"openssl:ALL:!DEFAULT", []Ignored{{"DEFAULT", "DEFAULT means something only at the beginning of a list"}}, 0},
		{"openssl:AES:xyzzy:xyzzy", []Ignored{{"xyzzy", ""}}, 0},
		{"openssl:AES128-SHA:0x0035", []Ignored{{"0x0035", `OpenSSL takes its own names, and case counts: "AES256-SHA"`}}, 0},
		// Known to some OpenSSL, and empty here.
		{"openssl:HIGH:!EXP:!kFZA:!KRB5-DES-CBC3-SHA:!RC4:!SSLv2:!kECDH:!EXP1024-RC4-MD5:!GOST:!RC4-64-MD5", nil, 0},
		{"openssl-1.0.2:HIGH:!ARIA:!CHACHA20:!CBC:!TLSv1.0", nil, 0},
		{"openssl:kRSA+kDHE:AES", nil, 0},
		{"openssl:TLS_AES_128_GCM_SHA256:AES128-SHA", nil, 1},
		{"openssl-3.5:TLS_AES_128_GCM_SHA256:AES128-SHA", nil, 1},
		{"openssl-3.5:TLS_RSA_WITH_RC4_128_SHA:AES128-SHA:TLS_AES_128_GCM", []Ignored{{"TLS_AES_128_GCM", ""}}, 0},
		{"openssl:DEFAULT@SECLEVEL=2:@SECLEVEL=2", nil, 1},
		{"openssl:SUITEB128:!AES256", nil, 1},
		{"openssl:SUITEB128", nil, 0},
	} {
		e, err := Expand(tt.in)
		if err != nil || !slices.Equal(e.Ignored, tt.want) || len(e.Notes) != tt.notes {
			t.Errorf("%q: ignored %q, notes %q, %v, want %q", tt.in, e.Ignored, e.Notes, err, tt.want)
		}
	}
	many := "openssl:AES"
	for i := range 100 {
		many += fmt.Sprintf(":w%dx", i)
	}
	if e, err := Expand(many); err != nil || len(e.Ignored) != mostIgnored {
		t.Errorf("of 100 words %d were kept, want %d (%v)", len(e.Ignored), mostIgnored, err)
	}
}

// TestNamesOfReleasesAreKnown: what one release selects by name another may
// lack, but no release calls it unknown.
func TestNamesOfReleasesAreKnown(t *testing.T) {
	for i := range releases {
		r := &releases[i]
		for j := range r.ciphers {
			c := &r.ciphers[j]
			if s, ok := Lookup(c.name); !ok || s.Code != c.code || !known(c.name) {
				t.Errorf("OpenSSL %s: %s is 0x%04X, want 0x%04X", r.name, c.name, s.Code, c.code)
			}
			if got := answer(r, c.name); !strings.HasSuffix(got, fmt.Sprintf("%04X", c.code)) {
				t.Errorf("OpenSSL %s: %s selects %s, want %04X", r.name, c.name, got, c.code)
			}
		}
		if !slices.IsSortedFunc(r.words, func(a, b word) int { return strings.Compare(a.name, b.name) }) {
			t.Errorf("OpenSSL %s: words out of order", r.name)
		}
	}
	if !slices.IsSorted(otherWords) {
		t.Error("other words out of order")
	}
}

// TestLongCipherLists: a megabyte takes some seconds on a busy machine, whatever
// it is of. What is quadratic would take hours.
func TestLongCipherLists(t *testing.T) {
	for _, unit := range []string{"AES:", "xyzzy:", "+AES+SHA1:", "!kFZA:", "@STRENGTH:", "AES+", "a", ":", "ALL:-ALL:", "@SECLEVEL=1:", "TLS_AES_128_GCM_SHA256:", "!", "AES128-SHA,x_"} {
		long := strings.Repeat(unit, 1<<20/len(unit))
		begin := time.Now()
		Expand("openssl-3.5:" + long)
		if took := time.Since(begin); took > time.Minute {
			t.Errorf("a megabyte of %q took %v", unit, took)
		}
	}
	begin := time.Now()
	IsCipherList(strings.Repeat("xyzzy:", 1<<20/6))
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("IsCipherList took %v", took)
	}
}

func BenchmarkExpand(b *testing.B) {
	const mozilla = "openssl:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:kEDH+AESGCM:ECDHE-RSA-AES128-SHA256:AES128-SHA:AES:CAMELLIA:HIGH:!aNULL:!eNULL:!EXPORT:!DES:!RC4:!MD5:!PSK"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Expand(mozilla); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzExpand: no crash, no suite twice, and what is read over changes nothing.
func FuzzExpand(f *testing.F) {
	for _, s := range expressions(f) {
		f.Add("openssl:" + s)
	}
	for _, s := range []string{"openssl-1.0.2:ALL:+kRSA", "openssl-1.0.2d:EXP", "class:fs-aead", "mozilla:old-5.8", "aws:ELBSecurityPolicy-2016-08", "0xC0,0x2F", "AES128-SHA"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 1<<12 {
			return
		}
		e, err := Expand(s)
		var bad *ExpressionError
		if err != nil && (!errors.As(err, &bad) || bad.Msg == "") {
			t.Fatalf("%q: %v is no ExpressionError that says something", s, err)
		}
		if err == nil && len(e.Codes) == 0 {
			t.Fatalf("%q: nothing, and no error", s)
		}
		seen := map[uint16]bool{}
		for _, code := range e.Codes {
			if seen[code] {
				t.Fatalf("%q has 0x%04X twice", s, code)
			}
			seen[code] = true
		}
		IsCipherList(s)
		again, err2 := Expand(s + ":")
		if strings.HasPrefix(strings.ToLower(s), "openssl:") && err == nil && (err2 != nil || !slices.Equal(e.Codes, again.Codes)) {
			t.Fatalf("%q: a separator at the end changes the list", s)
		}
	})
}
