package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tlsgate/tlsrules/suites"
)

func newSuitesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "suites [EXPRESSION]",
		Short: "Suites by any name, number, class or cipher list",
		Long: `Print cipher suites with all their names and properties.

EXPRESSION is a list, separated by commas, colons or spaces, of
  IANA, OpenSSL or GnuTLS names, and numbers (0xC02F, or 0xC0,0x2F)
  class:NAME            one of ` + strings.Join(suites.Classes(), ", ") + `
  mozilla:NAME-VERSION  Mozilla's guidelines: modern, intermediate, old; newest without a version
  aws:NAME              a predefined policy of AWS's load balancers
or a cipher list of OpenSSL's (ECDHE+AESGCM:!aNULL), read as OpenSSL 3.0 reads it.
openssl:LIST says so, and openssl-3.5:, openssl-1.1.1:, openssl-1.0.2: and
openssl-1.0.2d: read it as that release does. Without EXPRESSION all suites are
printed.`,
		Example: `  tlsgate suites ECDHE-RSA-AES128-GCM-SHA256
  tlsgate suites 'ECDHE+AESGCM:!aNULL'
  tlsgate suites 'openssl-1.0.2:RC4:HIGH:!MD5:!aNULL:!EDH'
  tlsgate suites --json mozilla:intermediate`,
		ValidArgsFunction: completeExpression,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := parseSuites(strings.Join(args, " "))
			if err != nil {
				return err
			}
			for _, w := range list.warnings {
				fmt.Fprintf(cmd.ErrOrStderr(), "tlsgate: warning: %s\n", w)
			}
			if asJSON {
				return printSuitesJSON(cmd.OutOrStdout(), list.suites)
			}
			return printSuites(cmd.OutOrStdout(), list.suites)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

var (
	// codePair is a number as openssl ciphers -V prints it.
	codePair = regexp.MustCompile(`(?i)\b0x([0-9a-f]{2}), ?0x([0-9a-f]{2})\b`)
	// codeShort is a number that could be half of a pair.
	codeShort = regexp.MustCompile(`(?i)^0x[0-9a-f]{1,3}$`)
	// cipherList is the prefix of a list that OpenSSL's rules separate.
	cipherList = regexp.MustCompile(`(?i)(^|[,:\s])openssl(-[0-9a-z.]+)?:`)
)

// suiteList is suites in the order of an expression, each once.
type suiteList struct {
	suites   []suites.Suite
	seen     map[uint16]bool
	warnings []string
}

// parseSuites returns the suites an expression names. The empty expression
// means all.
func parseSuites(expression string) (*suiteList, error) {
	l := &suiteList{seen: map[uint16]bool{}}
	if strings.TrimSpace(expression) == "" {
		l.suites = slices.Collect(suites.All())
		return l, nil
	}
	words, list := expression, ""
	if at := cipherList.FindStringIndex(expression); at != nil {
		words, list = expression[:at[0]], strings.TrimLeft(expression[at[0]:], ",: \t\r\n")
	} else if suites.IsCipherList(expression) && !hasKind(expression) {
		words, list = "", "openssl:"+expression
	}
	if err := l.words(words); err != nil {
		return nil, err
	}
	if list != "" {
		if err := l.expand(list); err != nil {
			return nil, err
		}
	}
	if len(l.suites) == 0 {
		return nil, fmt.Errorf("no suite in %q", expression)
	}
	return l, nil
}

// kinds are prefixes that take one name.
var kinds = []string{"class", "mozilla", "aws"}

func fields(expression string) []string {
	return strings.FieldsFunc(codePair.ReplaceAllString(expression, "0x$1$2"), func(r rune) bool {
		return strings.ContainsRune(",: \t\r\n", r)
	})
}

// hasKind reports whether a prefix is among the words of a list.
func hasKind(expression string) bool {
	return slices.ContainsFunc(fields(expression), func(word string) bool {
		return slices.Contains(kinds, strings.ToLower(word))
	})
}

// words adds the suites of a list of names, numbers, and prefixes with names.
func (l *suiteList) words(list string) error {
	words := fields(list)
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch kind := strings.ToLower(word); {
		case slices.Contains(kinds, kind):
			name := ""
			if i++; i < len(words) {
				name = words[i]
			}
			if kind == "aws" && strings.EqualFold(name, "classic") && i+1 < len(words) {
				i++
				name += ":" + words[i]
			}
			if err := l.expand(kind + ":" + name); err != nil {
				return err
			}
		case codeShort.MatchString(word):
			return fmt.Errorf("number %q needs four digits, as in 0xC02F", word)
		default:
			s, ok := suites.Lookup(word)
			if !ok {
				return unknownSuite(word)
			}
			l.add(s)
		}
	}
	return nil
}

// unknownSuite says what a name that is none was to be.
func unknownSuite(word string) error {
	name := suites.Suggest(word)
	if suites.IsCipherList(word) {
		name = "openssl:" + word
	}
	if name != "" {
		return fmt.Errorf("unknown suite %q; did you mean %q?", word, name)
	}
	if _, err := suites.Expand("openssl:" + word); err != nil {
		var bad *suites.ExpressionError
		if errors.As(err, &bad) && bad.Hint != "" {
			return fmt.Errorf("unknown suite %q; %s", word, bad.Hint)
		}
	}
	return fmt.Errorf("unknown suite %q", word)
}

func (l *suiteList) add(s suites.Suite) {
	if !l.seen[s.Code] {
		l.seen[s.Code] = true
		l.suites = append(l.suites, s)
	}
}

// longestShown bounds what an error repeats of an expression.
const longestShown = 80

// expand adds the suites of an expression with a prefix.
func (l *suiteList) expand(expression string) error {
	e, err := suites.Expand(expression)
	if err != nil {
		if len(expression) > longestShown {
			expression = expression[:longestShown] + "..."
		}
		return fmt.Errorf("%q %w", expression, err)
	}
	for _, code := range e.Codes {
		if s, ok := suites.ByCode(code); ok {
			l.add(s)
		}
	}
	for _, word := range e.Ignored {
		w := fmt.Sprintf("%q is no word of OpenSSL's, which reads over it", word.Word)
		if word.Hint != "" {
			w += "; " + word.Hint
		}
		l.warnings = append(l.warnings, w)
	}
	l.warnings = append(l.warnings, e.Notes...)
	return nil
}

func printSuites(w io.Writer, list []suites.Suite) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CODE\tIANA\tOPENSSL\tGNUTLS\tKX\tAUTH\tENC\tBITS\tCLASS\tVERSIONS")
	for _, s := range list {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", suiteCode(s),
			orDash(s.IANA), orDash(s.OpenSSL), orDash(s.GnuTLS), orDash(s.KX), orDash(s.Auth), orDash(s.Enc), s.Bits,
			s.Class, versionSpan(s))
	}
	return table.Flush()
}

func suiteCode(s suites.Suite) string { return fmt.Sprintf("0x%04X", s.Code) }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// versionSpan is the versions that have a suite: "1.0-1.2", "1.3".
func versionSpan(s suites.Suite) string {
	switch s.MinVersion {
	case 0:
		return "-"
	case s.MaxVersion:
		return suites.VersionKey(s.MinVersion)
	}
	return suites.VersionKey(s.MinVersion) + "-" + suites.VersionKey(s.MaxVersion)
}

func printSuitesJSON(w io.Writer, list []suites.Suite) error {
	type suiteJSON struct {
		Code       string `json:"code"`
		IANA       string `json:"iana"`
		OpenSSL    string `json:"openssl"`
		GnuTLS     string `json:"gnutls"`
		KX         string `json:"kx"`
		Auth       string `json:"auth"`
		Enc        string `json:"enc"`
		Bits       uint16 `json:"bits"`
		MAC        string `json:"mac"`
		Class      string `json:"class"`
		MinVersion string `json:"min_version"`
		MaxVersion string `json:"max_version"`
	}
	out := make([]suiteJSON, 0, len(list))
	for _, s := range list {
		j := suiteJSON{
			Code: suiteCode(s), IANA: s.IANA, OpenSSL: s.OpenSSL, GnuTLS: s.GnuTLS,
			KX: s.KX, Auth: s.Auth, Enc: s.Enc, Bits: s.Bits, MAC: s.MAC, Class: s.Class,
		}
		if s.MinVersion != 0 {
			j.MinVersion, j.MaxVersion = suites.VersionKey(s.MinVersion), suites.VersionKey(s.MaxVersion)
		}
		out = append(out, j)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}
