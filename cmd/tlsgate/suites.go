package main

import (
	"encoding/json"
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
		Short: "Suites by any name, number or class",
		Long: `Print cipher suites with all their names and properties.

EXPRESSION is a list, separated by commas, colons or spaces, of IANA, OpenSSL or
GnuTLS names, of numbers (0xC02F, or 0xC0,0x2F), and of class:NAME, where NAME is
one of ` + strings.Join(suites.Classes(), ", ") + `.
Without it all suites are printed.`,
		Example: `  tlsgate suites ECDHE-RSA-AES128-GCM-SHA256
  tlsgate suites 'AES128-SHA:0xC02F'
  tlsgate suites --json class:fs-aead`,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := parseSuites(strings.Join(args, " "))
			if err != nil {
				return err
			}
			if asJSON {
				return printSuitesJSON(cmd.OutOrStdout(), list)
			}
			return printSuites(cmd.OutOrStdout(), list)
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
)

// parseSuites returns the suites an expression names, each once, in the
// expression's order. The empty expression means all.
func parseSuites(expression string) ([]suites.Suite, error) {
	words := strings.FieldsFunc(codePair.ReplaceAllString(expression, "0x$1$2"), func(r rune) bool {
		return strings.ContainsRune(",: \t\r\n", r)
	})
	if len(words) == 0 {
		if strings.TrimSpace(expression) != "" {
			return nil, fmt.Errorf("no suite in %q", expression)
		}
		return slices.Collect(suites.All()), nil
	}
	var list []suites.Suite
	seen := make(map[uint16]bool)
	add := func(s suites.Suite) {
		if !seen[s.Code] {
			seen[s.Code] = true
			list = append(list, s)
		}
	}
	for i := 0; i < len(words); i++ {
		switch word := words[i]; strings.ToLower(word) {
		case "openssl", "mozilla", "aws":
			return nil, fmt.Errorf("%s: expressions are not supported yet", strings.ToLower(word))
		case "class":
			if i++; i == len(words) {
				return nil, fmt.Errorf("class: without a name; the classes are %s", strings.Join(suites.Classes(), ", "))
			}
			class := strings.ToLower(words[i])
			if !slices.Contains(suites.Classes(), class) {
				return nil, fmt.Errorf("unknown class %q%s", words[i], didYouMean(suites.SuggestClass(class)))
			}
			for s := range suites.All() {
				if s.Class == class {
					add(s)
				}
			}
		default:
			if codeShort.MatchString(word) {
				return nil, fmt.Errorf("number %q needs four digits, as in 0xC02F", word)
			}
			s, ok := suites.Lookup(word)
			if !ok {
				return nil, fmt.Errorf("unknown suite %q%s", word, didYouMean(suites.Suggest(word)))
			}
			add(s)
		}
	}
	return list, nil
}

func didYouMean(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", name)
}

func printSuites(w io.Writer, list []suites.Suite) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CODE\tIANA\tOPENSSL\tGNUTLS\tCLASS\tVERSIONS")
	for _, s := range list {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", suiteCode(s),
			orDash(s.IANA), orDash(s.OpenSSL), orDash(s.GnuTLS), s.Class, versionSpan(s))
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
		MAC        string `json:"mac"`
		Class      string `json:"class"`
		MinVersion string `json:"min_version"`
		MaxVersion string `json:"max_version"`
	}
	out := make([]suiteJSON, 0, len(list))
	for _, s := range list {
		j := suiteJSON{
			Code: suiteCode(s), IANA: s.IANA, OpenSSL: s.OpenSSL, GnuTLS: s.GnuTLS,
			KX: s.KX, Auth: s.Auth, Enc: s.Enc, MAC: s.MAC, Class: s.Class,
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
