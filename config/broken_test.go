package config

import (
	"errors"
	"strings"
	"testing"
)

// accepts begins a test that is whole: what follows breaks it.
const accepts = "[[test]]\nexpect.verdict = \"accept\"\n"
const accepting = "[[rule]]\naction = \"accept\"\n"

// broken are policies with one thing wrong: the text, the error, the hint.
var broken = []struct{ text, want, hint string }{
	{"[queue\nnumber = 1", `policy.toml:2: expected '.' or ']' to end table name, but got '\n' instead`, ""},
	{"[default]\naction = \"accept\"\naction = \"drop\"", `policy.toml:3: default.action: Key 'default.action' has already been defined.`, ""},

	{"[qeue]\nnumber = 1", `policy.toml:1: qeue: unknown key`, `did you mean "queue"?`},
	{"rules = 1", `policy.toml:1: rules: unknown key`, `did you mean "rule"?`},
	{"queue = 1", `policy.toml:1: queue: is 1, not a table`, ""},
	{"[[default]]\naction = \"drop\"", `policy.toml:1: default: is a table, not a list of tables`, `write [default], once`},
	{"[queue]\nnumbr = 1", `policy.toml:2: queue.numbr: unknown key`, `did you mean "number"?`},
	{"[queue]\nzzz = 1", `policy.toml:2: queue.zzz: unknown key`, `known here: number, workers, fail_open, backend, busy_poll`},
	{"[queue]\nnumber = 65536", `policy.toml:2: queue.number: is 65536, not a number from 0 to 65535`, ""},
	{"[queue]\nnumber = -1", `policy.toml:2: queue.number: is -1, not a number from 0 to 65535`, ""},
	{"[queue]\nnumber = \"0\"", `policy.toml:2: queue.number: is "0", not a number`, "write a number without quotes"},
	{"[queue]\nfail_open = \"no\"", `policy.toml:2: queue.fail_open: is "no", not true or false`, "write true or false, without quotes"},
	{"[queue]\nbackend = \"bacth\"", `policy.toml:2: queue.backend: "bacth" is not known`, `did you mean "batch"?`},
	{"[queue]\nbackend = 7", `policy.toml:2: queue.backend: is 7, not a string`, `one of: "batch", "go-nfqueue"`},
	{"[queue]\nbusy_poll = 30", `policy.toml:2: queue.busy_poll: 30 has no unit`, `did you mean "30s"?`},
	{"[queue]\nbusy_poll = \"2ms\"", `policy.toml:2: queue.busy_poll: is 2ms, more than 1ms`, "50us is much"},
	{"[queue]\nbackend = \"go-nfqueue\"\nbusy_poll = \"30us\"", `policy.toml:3: queue.busy_poll: backend "go-nfqueue" always sleeps`, `leave it out, or backend = "batch"`},
	{"[queue]\nnumber = 65535\nworkers = 2", `policy.toml:3: queue.workers: the last queue would be 65536, and 65535 is the highest`, "lower number or workers"},

	{"[intercept]\nhooks = \"prerouting\"", `policy.toml:2: intercept.hooks: "prerouting" is not a hook`, `known are "forward", "input", "output"`},
	{"[intercept]\nhooks = []", `policy.toml:2: intercept.hooks: is empty: nothing would be intercepted`, `a gateway wants "forward", a host "input" and "output"`},
	{"[intercept]\nports = []", `policy.toml:2: intercept.ports: is empty: nothing would be intercepted`, portHint},
	{"[intercept]\nports = [0]", `policy.toml:2: intercept.ports: "0" is not a port or range`, portHint},
	{"[intercept]\nports = [\"all\", 443]", `policy.toml:2: intercept.ports: has "all" among others`, `write only "all", or only ports`},
	{"[intercept]\nin_interfaces = [\"a*b\"]", `policy.toml:2: intercept.in_interfaces: "a*b" has a star that is not at the end`, `write "eth*"`},
	{"[intercept]\nmark = \"0x5\"", `policy.toml:2: intercept.mark: 0x00000005 cannot hold a mark`, `write for example "0x00ff0000": at least four bits side by side`},
	{"[intercept]\nmark = true", `policy.toml:2: intercept.mark: is true, not a mask of 32 bits`, `write for example "0x00ff0000": at least four bits side by side`},

	{"[default]\naction = \"continue\"", `policy.toml:2: default.action: "continue" is not known`, `one of: "drop", "accept", "reset", "alert", "refuse"`},
	{"[default]\nmalformed = \"alert:decode_eror\"", `policy.toml:2: default.malformed: "alert:decode_eror" names no alert: "decode_eror"`, `did you mean "decode_error"?`},
	{"[default]\nmalformed = \"alert:close_notify\"", `policy.toml:2: default.malformed: "alert:close_notify" refuses nothing: close_notify is not a fatal alert`, `did you mean "alert:handshake_failure"?`},
	{"[default]\nundecided = \"alert:200\"", `policy.toml:2: default.undecided: "alert:200" names no alert: "200"`, `known are the names of RFC 8446, Section 6`},
	{"[default]\nnot_tls = \"alert\"", `policy.toml:2: default.not_tls: "alert": only TLS has alerts`, `write "reset"`},
	{"[default]\noverload = \"alert:internal_error\"", `policy.toml:2: default.overload: "alert:internal_error": what is too much is not known to be TLS`, `write "reset"`},
	{"[default]\noverload = \"acept\"", `policy.toml:2: default.overload: "acept" is not known`, `did you mean "accept"?`},
	{"[default]\noverload = \"refuse\"", `policy.toml:2: default.overload: "refuse" is not known`, `one of: "drop", "accept", "reset"`},
	{"[default]\nrefuse_for = 60", `policy.toml:2: default.refuse_for: 60 has no unit`, `did you mean "60s"?`},
	{"[default]\nmptcp = \"stripp\"", `policy.toml:2: default.mptcp: "stripp" is not known`, `did you mean "strip"?`},
	{"[default]\nmidstream = \"refuse\"", `policy.toml:2: default.midstream: "refuse" is not known`, `one of: "drop", "reset", "inspect", "accept"`},
	{"[default]\ngrace = \"a day\"", `policy.toml:2: default.grace: "a day" is not a duration`, `write for example "30s", "5m" or "1h30m"`},

	{"[limits]\nbuffered = \"256MB\"", `policy.toml:2: limits.buffered: "256MB" is not a size`, sizeHint},
	{"[limits]\nbuffered = \"99999999GiB\"", `policy.toml:2: limits.buffered: "99999999GiB" is not a size`, sizeHint},
	{"[limits]\nbuffered = 1.5", `policy.toml:2: limits.buffered: is 1.5, not a size`, sizeHint},
	{"[limits]\nbuffered = -1", `policy.toml:2: limits.buffered: is -1, not a size`, sizeHint},
	{"[limits]\ndecide = 30", `policy.toml:2: limits.decide: 30 has no unit`, `did you mean "30s"?`},
	{"[limits]\ndecide = \"2562047h\"", `policy.toml:2: limits.decide: "2562047h" is more than a hundred years`, "876000h is the most"},
	{"[limits]\ndecide = \"half an hour\"", `policy.toml:2: limits.decide: "half an hour" is not a duration`, durationHint},
	{"[limits]\nhello = \"128KiB\"", `policy.toml:2: limits.hello: is 131072, more than per_connection, which is 98304`, "raise per_connection or lower hello"},
	{"[limits]\nconnections = 10\nhalf_open = 11", `policy.toml:3: limits.half_open: is 11, more than connections, which is 10`, "raise connections or lower half_open"},
	{"[limits]\ndecide = \"9ms\"", `policy.toml:2: limits.decide: is 9ms, less than 10ms`, durationHint},
	{"[limits]\ndecide = \"0.1ns\"", `policy.toml:2: limits.decide: is 0.1ns, less than 10ms`, durationHint},
	{"[limits]\nhello = 255", `policy.toml:2: limits.hello: is 255, less than 256 bytes`, sizeHint},
	{"[limits]\nhello = \"1KiB\"\nper_connection = 1023", `policy.toml:3: limits.per_connection: is 1023, less than 1024 bytes`, sizeHint},
	{"[limits]\nbuffered = \"15KiB\"", `policy.toml:2: limits.buffered: is 15360, less than 16384 bytes`, sizeHint},
	{"[log]\nstats = \"99ms\"", `policy.toml:2: log.stats: is 99ms, less than 100ms`, durationHint},
	{"[log]\nstats = \"-60s\"", `policy.toml:2: log.stats: "-60s" is not a duration`, durationHint},
	{"[log]\nstats = \"1000000h\"", `policy.toml:2: log.stats: "1000000h" is more than a hundred years`, "876000h is the most"},
	{"[default]\ngrace = \"1ms\"", `policy.toml:2: default.grace: is 1ms, less than 10ms`, durationHint},
	{"[default]\nrefuse_for = \"9ms\"", `policy.toml:2: default.refuse_for: is 9ms, less than 10ms`, durationHint},
	{"[queue]\nbusy_poll = \"10ns\"", `policy.toml:2: queue.busy_poll: is 10ns, less than 1µs`, durationHint},
	{"[[rule]]\naction = \"refuse\"\nrefuse_for = \"1ns\"", `policy.toml:3: rule[1].refuse_for: is 1ns, less than 10ms`, durationHint},
	{accepting + "pin = { idle = \"1us\" }", `policy.toml:3: rule[1].pin.idle: is 1us, less than 10ms`, durationHint},
	{accepting + "hold = { patience = \"1ms\" }", `policy.toml:3: rule[1].hold.patience: is 1ms, less than 10ms`, durationHint},
	{"[log]\nevents = \"\"", `policy.toml:2: log.events: is empty`, `write a path, "-" for standard output, or "none"`},

	{"[control]\nsocket = \"run/s\"", `policy.toml:2: control.socket: "run/s" is not a path from the root`, `write a path that begins with "/", or "none"`},
	{"[control]\nsocket = \"/" + strings.Repeat("s", 107) + "\"", `policy.toml:2: control.socket: cannot be the path of a socket`, "a socket's path has at most 107 bytes"},
	{"[state]\nfile = \"state\"", `policy.toml:2: state.file: "state" is not the path of a file from the root`, `write a path that begins with "/", or "none"`},
	{"[state]\nfile = \"/var/\"", `policy.toml:2: state.file: "/var/" is not the path of a file from the root`, `write a path that begins with "/", or "none"`},
	{"[state]\nfile = \"/" + strings.Repeat("s", 201) + "\"", `policy.toml:2: state.file: cannot be the path of a file`, "a name has at most 200 bytes"},
	{"[state]\nevery = \"1ms\"", `policy.toml:2: state.every: is 1ms, less than 1s`, `write for example "30s", "5m" or "1h30m"`},
	{"[control]\ngroup = \"a:b\"", `policy.toml:2: control.group: "a:b" is not the name of a group`, ""},

	{"[sets]\na = \"@b\"\nb = \"@a\"", `policy.toml:3: sets.b: @a contains itself: a > b > a`, ""},
	{"[sets]\na = \"file:nothing.txt\"", `policy.toml:2: sets.a: cannot read DIR/nothing.txt: no such file or directory`, "paths are relative to the policy file"},
	{"[sets]\na = [true]", `policy.toml:2: sets.a: has true, where a string or a list of strings belongs`, "write a string, or a list of strings"},
	{"[sets]\na = [[\"x\"]]", `policy.toml:2: sets.a: has a list in a list, where a string or a list of strings belongs`, "write a string, or a list of strings"},

	{"[rule]\naction = \"drop\"", `policy.toml:1: rule: is a table, not a list of tables`, "write [[rule]] before each rule"},
	{"[[rule]]\nname = \"a\"\nmatch = { sni = \"a.example\" }", `policy.toml:1: rule[1]: rule "a": has neither require nor action, so it means nothing`,
		`add action = "accept", "drop", "reset", "alert", "refuse" or "continue", or a require`},
	{"[[rule]]\naction = \"drop\"\nrequire = { version = \"1.2\" }", `policy.toml:3: rule[1].require: rule "rule 1": is never asked, because action = "drop" refuses first`,
		`to refuse what violates it: action = "accept" or "continue", and otherwise = "drop"; to refuse what fits it: move it into match`},
	{"[[rule]]\nname = \"a\"\naction = \"drop\"\n[[rule]]\nname = \"a\"\naction = \"drop\"", `policy.toml:5: rule[2].name: rule "a": rule 1 has this name already`, "events tell rules by name"},
	{"[[rule]]\nname = \"a\\nb\"\naction = \"drop\"", `policy.toml:2: rule[1].name: cannot be a name`, "at most 64 letters, without control characters: events and metrics carry it"},
	{"[[rule]]\naction = \"alert:\"", `policy.toml:2: rule[1].action: "alert:" names no alert: ""`, `known are the names of RFC 8446, Section 6`},
	{"[[rule]]\naction = \"refuse:60s\"", `policy.toml:2: rule[1].action: "refuse:60s" is not known`, `one of: "drop", "accept", "reset", "alert", "refuse", "continue"`},
	{"[[rule]]\nrequire = { version = \"1.2\" }\notherwise = \"hold\"", `policy.toml:3: rule[1].otherwise: "hold" is an action of rules only`, `write action = "hold" in a rule: there application data waits for its gate`},
	{"[default]\naction = \"hold\"", `policy.toml:2: default.action: "hold" is an action of rules only`, `write action = "hold" in a rule: there application data waits for its gate`},
	{"[[rule]]\nrequire = { version = \"1.2\" }\notherwise = \"alert:user_canceled\"", `policy.toml:3: rule[1].otherwise: "alert:user_canceled" refuses nothing: user_canceled is not a fatal alert`, `did you mean "alert:handshake_failure"?`},
	{"[[rule]]\naction = \"reset\"\nrefuse_for = \"5s\"", `policy.toml:3: rule[1].refuse_for: rule "rule 1": has no effect without action or otherwise = "refuse"`, ``},
	{"[[rule]]\naction = \"acccept\"", `policy.toml:2: rule[1].action: "acccept" is not known`, `did you mean "accept"?`},
	{"[[rule]]\naction = \"REJECT\"", `policy.toml:2: rule[1].action: "REJECT" is not known`, `did you mean "reset"?`},
	{"[[rule]]\naction = \"deny\"", `policy.toml:2: rule[1].action: "deny" is not known`, `did you mean "drop"?`},
	{"[[rule]]\nrequire = { version = \"1.2\" }\notherwise = \"accept\"", `policy.toml:3: rule[1].otherwise: "accept" is not known`, `one of: "drop", "reset", "alert", "refuse"`},
	{"[[rule]]\naction = \"accept\"\notherwise = \"drop\"", `policy.toml:3: rule[1].otherwise: has no effect without require, pin or hold`, "add a require, or leave it out"},
	{"[[rule]]\naction = \"accept\"\nunseen = \"allow\"", `policy.toml:3: rule[1].unseen: has no effect without require, pin or hold`, "add a require, or leave it out"},
	{"[[rule]]\nrequire = { version = \"1.2\" }\nunseen = \"deny\"", `policy.toml:3: rule[1].unseen: "deny" is not known`, `one of: "allow"`},
	{accepting + "pin = { to = \"sesion\" }", `policy.toml:3: rule[1].pin.to: "sesion" is not known`, `did you mean "session"?`},
	{accepting + "pin = { per = [\"cipher\"] }", `policy.toml:3: rule[1].pin.per: connections cannot be grouped by "cipher"`, `some of: "source", "destination", "port", "in_interface", "sni"`},
	{accepting + "pin = { per = [\"source\", \"Source\"] }", `policy.toml:3: rule[1].pin.per: has "Source" twice`, ``},
	{accepting + "pin = { connections = 1025 }", `policy.toml:3: rule[1].pin.connections: is 1025, not a number from 0 to 1024`, ``},
	{accepting + "pin = { idle = 10 }", `policy.toml:3: rule[1].pin.idle: 10 has no unit`, `did you mean "10s"?`},
	{accepting + "pin = { tls13 = \"allow\" }", `policy.toml:3: rule[1].pin.tls13: rule "rule 1": has no effect on a pin to a connection`, `it says which resumed sessions share a pin: to = "session"`},
	{accepting + "pin = { perr = \"source\" }", `policy.toml:3: rule[1].pin.perr: unknown key`, `did you mean "per"?`},
	{accepting + "pin = true", `policy.toml:3: rule[1].pin: is true, not a table`, ``},
	{"[[rule]]\naction = \"drop\"\npin = {}", `policy.toml:3: rule[1].pin: rule "rule 1": is never asked, because action = "drop" refuses first`, ``},
	{accepting + "hold = { what = \"handshake\" }", `policy.toml:3: rule[1].hold.what: "handshake" is not known`, `one of: "application_data"`},
	{accepting + "hold = { open = \"tomorrow\" }", `policy.toml:3: rule[1].hold.open: "tomorrow" is not a time`, `write for example "2026-12-01T10:00:00+05:30"`},
	{accepting + "hold = { patience = \"-1s\" }", `policy.toml:3: rule[1].hold.patience: "-1s" is not a duration`, `write for example "30s", "5m" or "1h30m"`},
	{"[[rule]]\naction = \"reset\"\nhold = {}", `policy.toml:3: rule[1].hold: rule "rule 1": is never asked, because action = "reset" refuses first`, ``},
	{accepting + "match = { time = \"Mon-Fry 09:00-17:00\" }", `policy.toml:3: rule[1].match.time: "Mon-Fry 09:00-17:00" names no time`, `write for example "Mon-Fri 09:00-17:00 Europe/Berlin" or "after 2026-12-01T10:00:00Z"`},
	{"[[rule]]\naction = \"drop\"\nmatch = { cert_key = \"rsa>2k\" }", `policy.toml:3: rule[1].match.cert_key: "rsa>2k" is not a kind of key`, `write the size in bits, as in "rsa>=2048"`},
	{"[[rule]]\naction = \"drop\"\nmatch = { cert_key = \"ecsda\" }", `policy.toml:3: rule[1].match.cert_key: "ecsda" is not a kind of key`, `did you mean "ecdsa"?`},
	{"[[rule]]\naction = \"drop\"\nmatch = { via = \"starttls:stmp\" }", `policy.toml:3: rule[1].match.via: "starttls:stmp" is not a way in which TLS begins`, `did you mean "starttls:smtp"?`},
	{"[[rule]]\naction = \"drop\"\nmatch = { ech = \"maybe\" }", `policy.toml:3: rule[1].match.ech: "maybe" is not true or false`, `known are false, true`},
	{"[[rule]]\naction = \"drop\"\nmatch = { sni = true }", `policy.toml:3: rule[1].match.sni: has true, where a string or a list of strings belongs`, `write a string, or a list of strings`},
	{"[[rule]]\naction = \"drop\"\nmatch = { ja4 = \"t13d1516h2\" }", `policy.toml:3: rule[1].match.ja4: "t13d1516h2" is not a JA4 fingerprint`, `it has three parts, as in "t13d1516h2_8daaf6152771_e5627efa2ab1"; each may be "*"`},
	{"[[rule]]\naction = \"drop\"\nmatch = { ja3 = \"abc\" }", `policy.toml:3: rule[1].match.ja3: "abc" is not a JA3 fingerprint`, `write its 16 bytes as 32 hexadecimal digits`},
	{"[[rule]]\naction = \"drop\"\nmatch = { cert_subject = \"api.example\" }", `policy.toml:3: rule[1].match.cert_subject: "api.example" is not a part of a name`, `write it as events do: "CN=api.example", or "O=Example, CN=api.example"`},
	{"[[rule]]\naction = \"drop\"\nmatch = { contains = \"hex:0\" }", `policy.toml:3: rule[1].match.contains: "hex:0" is not hexadecimal`, `write two digits a byte, as in "hex:16 03 01"`},
	{"[[rule]]\naction = \"drop\"\nmatch = { dh_bits = \"big\" }", `policy.toml:3: rule[1].match.dh_bits: "big" is not a size`, `write a number of bits, as in ">=2048"`},
	{"[[rule]]\naction = \"accept\"\nmatch = { snl = \"a.example\" }", `policy.toml:3: rule[1].match.snl: unknown key`, `did you mean "sni"?`},
	{"[[rule]]\naction = \"accept\"\nmatch = { sni = [] }", `policy.toml:3: rule[1].match.sni: "sni" has no values, so it could never hold`, "leave the key out, or name what it should allow"},
	{"[[rule]]\naction = \"accept\"\nmatch = { sni = \"@bank\" }", `policy.toml:3: rule[1].match.sni: there is no set @bank`, "there is no [sets] in this file"},
	{"[[rule]]\naction = \"accept\"\nmatch = { sni = \"@bnak\" }\n[sets]\nbank = \"a.example\"", `policy.toml:3: rule[1].match.sni: there is no set @bnak`, `did you mean "@bank"?`},
	{"[[rule]]\naction = \"accept\"\nmatch = { sni = \"file:x\" }", `policy.toml:3: rule[1].match.sni: "file:x" can only stand in a set`, `write it in [sets] and "@name" here`},
	{"[[rule]]\n[rule.require]\nversion = 1.2", `policy.toml:3: rule[1].require.version: has 1.2, where a string or a list of strings belongs`, `write it in quotes: "1.2"`},
	{"[sets]\np = [\n\"AES128-SHA\",\n\"AES128-SHB\"]\n[[rule]]\naction = \"accept\"\n[[rule]]\nrequire.cipher = \"@p\"",
		`policy.toml:8: rule[2].require.cipher: "AES128-SHB" (of @p) is not a cipher suite`, `did you mean "AES128-SHA"?`},
	{"[[rule]]\nrequire.cipher = \"mozilla:intermediate-5.9\"", `policy.toml:2: rule[1].require.cipher: "mozilla:intermediate-5.9" names a version of Mozilla's guidelines that is not known: "intermediate-5.9"`, "of intermediate there are 4.0, 5.0, 5.7, 5.8, 6.0"},

	{"[test]\nname = \"x\"", `policy.toml:1: test: is a table, not a list of tables`, "write [[test]] before each test"},
	{"[[test]]\nname = \"x\"", `policy.toml:1: test[1].expect: is missing: a test that expects nothing cannot fail`, `write for example expect = { verdict = "accept" }`},
	{accepts + "name = \"a\\nb\"", `policy.toml:3: test[1].name: cannot be a name`, "it stands in a line of a report"},
	{accepts + "name = \"x\"\n" + accepts + "name = \"x\"", `policy.toml:6: test[2].name: test 1 has this name already: "x"`, "reports tell tests by name"},
	{accepts + "clinet = {}", `policy.toml:3: test[1].clinet: unknown key`, `did you mean "client"?`},
	{accepts + "time = \"noon\"", `policy.toml:3: test[1].time: "noon" is not a time`, `write for example "2026-12-01T10:00:00+05:30"`},
	{accepts + "time = 1950-01-01T00:00:00Z", `policy.toml:3: test[1].time: is in a year that no packet has`, `write for example "2026-12-01T10:00:00+05:30"`},
	{accepts + "client = { snl = \"a.example\" }", `policy.toml:3: test[1].client.snl: unknown key`, `did you mean "sni"?`},
	{accepts + "client = { sni = [\"a.example\", \"b.example\"] }", `policy.toml:3: test[1].client.sni: names 2: a.example, b.example`, "name one"},
	{accepts + "client = { sni = \"*.example\" }", `policy.toml:3: test[1].client.sni: "*.example" is not a name that a hello has`, "write a name that the star stands for"},
	{accepts + "client = { from = \"192.0.2\" }", `policy.toml:3: test[1].client.from: "192.0.2" is not an address, nor one with a port`, addrPortHint},
	{accepts + "client = { to = \"0.0.0.0\" }", `policy.toml:3: test[1].client.to: 0.0.0.0 is no address that a packet has`, addrPortHint},
	{accepts + "client = { to = \"192.0.2.1:0\" }", `policy.toml:3: test[1].client.to: "192.0.2.1:0" has no port that TCP could use`, addrPortHint},
	{accepts + "client = { from = \"192.0.2.1\", to = \"2001:db8::1\" }", `policy.toml:3: test[1].client.from: 192.0.2.1 cannot connect to 2001:db8::1`, "both are of one family"},
	{accepts + "client = { in_interface = \"eth*\" }", `policy.toml:3: test[1].client.in_interface: "eth*" is not an interface`, "write a name that the star stands for"},
	{accepts + "client = { offers = \"AES128-SHB\" }", `policy.toml:3: test[1].client.offers: "AES128-SHB" is not a cipher suite`, `did you mean "AES128-SHA"?`},
	{accepts + "client = { offers = \"@none\" }", `policy.toml:3: test[1].client.offers: there is no set @none`, "there is no [sets] in this file"},
	{accepts + "client = { offers = [\"AES128-SHA\", \"TLS_AES_128_GCM_SHA256\"], version = \"1.2\" }",
		`policy.toml:3: test[1].client.offers: TLS_AES_128_GCM_SHA256 is not a suite of a version that the client offers (1.2)`, "offer the version, or leave out the suite"},
	{accepts + "client = { version = \"ssl2\" }", `policy.toml:3: test[1].client.version: SSL 2.0 is not what a hello of TLS can offer`, `for a hello in the format of SSL 2.0: protocol = "sslv2"`},
	{accepts + "client = { key_shares = \"secp521r1\" }", `policy.toml:3: test[1].client.key_shares: secp521r1 is not among the groups that the client offers`, "add it to groups"},
	{accepts + "client = { extensions = \"server_name\" }", `policy.toml:3: test[1].client.extensions: server_name has a key of its own: sni`, "leave it out"},
	{accepts + "client = { resumes = \"psk\", version = \"1.2\" }", `policy.toml:3: test[1].client.resumes: is by psk, and the client does not offer TLS 1.3`, `up to TLS 1.2 it is by "session_id" or "ticket"`},
	{accepts + "client = { resumes = [\"none\", \"psk\"] }", `policy.toml:3: test[1].client.resumes: has none among others`, `write "none" alone`},
	{accepts + "client = { early_data = true }", `policy.toml:3: test[1].client.early_data: goes with a session of TLS 1.3 that is resumed`, `add resumes = "psk"`},
	{accepts + "client = { alert = \"unknow_ca\" }", `policy.toml:3: test[1].client.alert: "unknow_ca" is not an alert`, `did you mean "unknown_ca"?`},
	{accepts + "client = { sends = \"aplication_data\" }", `policy.toml:3: test[1].client.sends: "aplication_data" is not what a side can send`, `did you mean "application_data"?`},
	{accepts + "client = { sends = \"heartbeat\" }", `policy.toml:3: test[1].client.sends: "heartbeat" is not what TLS 1.3 has, or shows`, ""},
	{accepts + "client = { protocol = \"http\", sni = \"a.example\" }", `policy.toml:3: test[1].client.sni: is of TLS, and protocol is "http"`, "leave it out, or protocol"},
	{accepts + "client = { protocol = \"sslv2\", sni = \"a.example\" }", `policy.toml:3: test[1].client.sni: contradicts protocol = "sslv2"`, "an SSL 2.0 hello has no extensions"},
	{accepts + "client = { protocol = \"sslv2\", version = \"1.3\" }", `policy.toml:3: test[1].client.version: offers TLS 1.3, and protocol is "sslv2"`, "an SSL 2.0 hello has no extensions"},
	{accepts + "client.via = \"starttls:stmp\"", `policy.toml:3: test[1].client.via: "starttls:stmp" is not a way in which TLS begins`, `did you mean "starttls:smtp"?`},
	{accepts + "client.via = \"starttls\"", `policy.toml:3: test[1].client.via: goes on behind starttls:smtp`, "name one, the last: what leads to it stands before"},
	{accepts + "client.via = [\"starttls:smtp\", \"connect\"]", `policy.toml:3: test[1].client.via: goes on behind starttls:smtp`, "name one, the last: what leads to it stands before"},
	{accepts + "client.via = [\"connect\", \"proxy\"]", `policy.toml:3: test[1].client.via: has a PROXY header behind connect`, `write "proxy" first`},
	{accepts + "client.via = [\"direct\", \"socks\"]", `policy.toml:3: test[1].client.via: has direct among others`, "leave it out"},
	{accepts + "client.text = \"abc\"", `policy.toml:3: test[1].client.text: is what is said in clear, and protocol is "tls"`, `add protocol = "unknown", "http" or "ssh"`},
	{accepts + "client = { protocol = \"ssh\", text = \"hex:0\" }", `policy.toml:3: test[1].client.text: "hex:0" is not hexadecimal`, `write two digits a byte, as in "hex:16 03 01"`},
	{accepts + "client.protocol = \"ssh\"\nserver.version = \"1.2\"", `policy.toml:4: test[1].server.version: is of TLS, and client.protocol is "ssh"`, "leave it out, or protocol"},

	{accepts + "client.offers = \"ECDHE-RSA-AES128-SHA\"\nserver.cipher = \"AES128-SHA\"", `policy.toml:4: test[1].server.cipher: "AES128-SHA" is not among the suites that the client offers`, "add it to client.offers"},
	{accepts + "server = { version = \"1.2\", cipher = \"TLS_AES_128_GCM_SHA256\" }", `policy.toml:3: test[1].server.cipher: "TLS_AES_128_GCM_SHA256" is not a suite of TLS 1.2`, ""},
	{accepts + "server = { cipher = \"class:weak\" }", `policy.toml:3: test[1].server.cipher: names 19: DES-CBC3-SHA, DH-DSS-DES-CBC3-SHA, DH-RSA-DES-CBC3-SHA, EDH-DSS-DES-CBC3-SHA, EDH-RSA-DES-CBC3-SHA`, "name one"},
	{accepts + "client.version = \"1.2\"\nserver.version = \"1.3\"", `policy.toml:4: test[1].server.version: "1.3" is not what the client offers (1.2)`, "add it to client.version"},
	{accepts + "client.offers = \"AES128-SHA\"\nserver.cert_key = \"ecdsa\"", `policy.toml:1: test[1].server.cipher: is left out, and the client offers no suite that the server could select in TLS 1.2`, `a server that finds none sends an alert: server = { alert = "handshake_failure" }`},
	{accepts + "server = { cipher = \"AES128-SHA\", cert_key = \"ecdsa\" }", `policy.toml:3: test[1].server.cert_key: is not the kind of key that AES128-SHA takes, which is rsa`, ""},
	{accepts + "server = { group = \"secp521r1\" }", `policy.toml:3: test[1].server.group: "secp521r1" is not among the groups that the client offers`, "add it to client.groups"},
	{accepts + "client.groups = [\"x25519\", \"ffdhe2048\"]\nserver = { version = \"1.2\", group = \"ffdhe2048\" }", `policy.toml:4: test[1].server.group: "ffdhe2048" is not a curve, which ECDHE-ECDSA-AES256-GCM-SHA384 in TLS 1.2 takes`, ""},
	{accepts + "server = { cipher = \"AES128-SHA\", group = \"x25519\" }", `policy.toml:3: test[1].server.group: AES128-SHA in TLS 1.2 names no group`, ""},
	{accepts + "server = { cipher = \"AES128-SHA\", dh_bits = 1024 }", `policy.toml:3: test[1].server.dh_bits: AES128-SHA in TLS 1.2 has no prime`, ""},
	{accepts + "server = { cert_name = \"a.example\" }", `policy.toml:3: test[1].server.cert_name: TLS 1.3 encrypts the certificate: no firewall sees it`, `leave it out, or write version = "1.2"`},
	{accepts + "server = { version = \"1.2\", resumed = \"unknown\", cert_name = \"a.example\" }", `policy.toml:3: test[1].server.cert_name: a session that began unseen shows no certificate`, `leave it out, or write resumed = "known"`},
	{accepts + "server = { version = \"1.2\", cert_key = \"rsa=64\" }", `policy.toml:3: test[1].server.cert_key: "rsa=64" is not a size that a test can make`, `write for example "rsa=2048", "ecdsa=256", "ed25519"`},
	{accepts + "server = { version = \"1.2\", cert_key = \"gost\" }", `policy.toml:3: test[1].server.cert_key: "gost" is not a key that a test can make`, `write for example "rsa=2048", "ecdsa=256", "ed25519"`},
	{accepts + "server = { version = \"1.2\", cert_subject = \"api.example\" }", `policy.toml:3: test[1].server.cert_subject: "api.example" is not a part of a name`, `write it as events do: "CN=api.example", or "O=Example, CN=api.example"`},
	{accepts + "server = { version = \"1.2\", cert_self_signed = true, cert_issuer = \"CN=CA\" }", `policy.toml:3: test[1].server.cert_issuer: is the subject where cert_self_signed = true`, "leave it out"},
	{accepts + "server = { version = \"1.2\", certificate = \"nothing.pem\" }", `policy.toml:3: test[1].server.certificate: cannot read DIR/nothing.pem: no such file or directory`, "paths are relative to the policy file"},
	{accepts + "server = { alpn = \"h2\" }", `policy.toml:3: test[1].server.alpn: TLS 1.3 encrypts the protocol selected: no firewall sees it`, "leave it out"},
	{accepts + "server = { version = \"1.2\", alpn = \"h2\" }", `policy.toml:3: test[1].server.alpn: "h2" is not among the protocols that the client offers`, "add it to client.alpn"},
	{accepts + "client.resumes = \"none\"\nserver.resumed = \"known\"", `policy.toml:4: test[1].server.resumed: is "known", and the client asks for no session that the server could resume`, "TLS 1.3 resumes by psk"},
	{accepts + "server = { silent = true, version = \"1.2\" }", `policy.toml:3: test[1].server.version: is never sent: the server is silent`, "leave it out"},
	{accepts + "server = { alert = \"handshake_failure\", cipher = \"AES128-SHA\" }", `policy.toml:3: test[1].server.cipher: is never sent: the server answers with a fatal alert`, "leave it out"},

	{accepts + "given.pin = \"taken\"", `policy.toml:3: test[1].given.pin: no rule of the policy has a pin`, ""},
	{accepts + "given.gate = \"open\"", `policy.toml:3: test[1].given.gate: no rule of the policy has a hold`, ""},
	{accepts + "given.gate = \"ajar\"", `policy.toml:3: test[1].given.gate: "ajar" is not known`, `one of: "open", "closed"`},
	{accepts + "given.pin = \"held\"", `policy.toml:3: test[1].given.pin: "held" is not known`, `one of: "free", "taken", "same-session"`},
	{accepts + "given.pim = \"taken\"", `policy.toml:3: test[1].given.pim: unknown key`, `did you mean "pin"?`},
	{accepts + "given.pin = \"same-session\"\n" + accepting + "pin = {}", `policy.toml:3: test[1].given.pin: only a session that was seen to begin can have it`, `write server.resumed = "known"`},
	{"[[test]]\nexpect = { verdict = \"acept\" }", `policy.toml:2: test[1].expect.verdict: "acept" is not known`, `did you mean "accept"?`},
	{"[[test]]\nexpect = { verdict = \"continue\" }", `policy.toml:2: test[1].expect.verdict: "continue" is not known`, `one of: "drop", "accept", "reset", "alert", "refuse", "hold", "undecided"`},
	{"[[test]]\nexpect = { reason = \"require.chiper\" }", `policy.toml:2: test[1].expect.reason: "require.chiper" is not a reason`, `did you mean "require.cipher"?`},
	{"[[test]]\nexpect = { stage = \"serverhello\" }", `policy.toml:2: test[1].expect.stage: "serverhello" is not a stage`, `did you mean "server_hello"?`},
	{"[[test]]\nexpect = { rule = \"partnr\" }\n[[rule]]\nname = \"partner\"\naction = \"drop\"", `policy.toml:2: test[1].expect.rule: there is no rule "partnr"`, `did you mean "partner"?`},
	{"[[test]]\nexpect = { verdit = \"drop\" }", `policy.toml:2: test[1].expect.verdit: unknown key`, `did you mean "verdict"?`},
}

func TestBroken(t *testing.T) {
	for _, tt := range broken {
		dir := t.TempDir()
		c, err := Parse("policy.toml", []byte(tt.text), dir)
		if c != nil || err == nil {
			t.Errorf("%s\nwas taken", tt.text)
			continue
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s\ngot no *Error: %v", tt.text, err)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), dir, "DIR"); got != tt.want || e.Hint != tt.hint {
			t.Errorf("%s\ngot  %s\nwant %s\nhint %s", tt.text, got, tt.want, e.Hint)
		}
	}
}

func TestSeveralErrors(t *testing.T) {
	_, err := Parse("p.toml", []byte("[[rule]]\naction = \"acept\"\n[queue]\nnumber = -1\n"), "")
	want := `2 errors:
  p.toml:2: rule[1].action: "acept" is not known (did you mean "accept"?)
  p.toml:4: queue.number: is -1, not a number from 0 to 65535`
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	var one *Error
	if !errors.As(err, &one) || one.Hint != "" || one.File != "p.toml" {
		t.Errorf("as one: got %+v", one)
	}
	if got := All(err); len(got) != 2 || got[1].Line != 4 {
		t.Errorf("all: got %v", got)
	}
	if got := All(one); len(got) != 1 {
		t.Errorf("all of one: got %v", got)
	}
	if All(nil) != nil {
		t.Error("all of none: got some")
	}
}

func TestLines(t *testing.T) {
	l := scanLines([]byte(`# comment = 1
[queue]
number = 1
[sets]
"a" = [ # ] not yet
  "x = [", 'y]',
]
b = ["]"]
[[rule]]
match.sni = "x"
[[rule]]
[rule.require]
cipher = 1
`))
	for key, want := range map[string]int{
		"queue": 2, "queue.number": 3, "queue.other": 2, "sets.a": 5, "sets.b": 8, "rule[1].match.sni": 10,
		"rule[1].action": 9, "rule[2].require.cipher": 13, "rule[2].match": 11, "nothing": 0,
	} {
		if got := l.of(key); got != want {
			t.Errorf("%s: got line %d, want %d", key, got, want)
		}
	}
}

// FuzzParse: whatever the text, there is a policy or errors that name the file.
func FuzzParse(f *testing.F) {
	for _, tt := range broken {
		f.Add(tt.text)
	}
	f.Add("[[rule]]\nmatch = { source = \"::/0\", port = [1, \"2-3\"] }\nrequire = { cipher = \"0xC02F\" }\naction = \"accept\"\n")
	f.Add("[[rule]]\npin = { to = \"session\", per = [\"source\", \"sni\"], connections = 2, idle = \"5m\", tls13 = \"same-client\" }\n")
	f.Add("[[rule]]\naction = \"hold\"\nhold = { what = \"application_data\", open = 2026-12-01T10:00:00+05:30, patience = \"1h\" }\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "file:") || strings.Contains(text, "certificate") {
			t.Skip("reads files")
		}
		c, err := Parse("p", []byte(text), "")
		if (c == nil) == (err == nil) {
			t.Fatalf("got %v and %v", c, err)
		}
		for _, e := range All(err) {
			if e.File != "p" || e.Msg == "" {
				t.Errorf("got %+v", e)
			}
		}
		if err != nil && len(All(err)) == 0 {
			t.Errorf("no *Error in %v", err)
		}
		if c != nil {
			c.Policy.Rules()
		}
	})
}
