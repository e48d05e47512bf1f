package adversary

// Policy refuses names, and requires a suite of what is permitted; defaults are
// lines of [default].
func Policy(defaults string) string {
	return refusing(defaults) + `
[[rule]]
name    = "suites"
require = { cipher = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"] }
action  = "accept"
`
}

// Names refuses names, and accepts all others for good: it decides at the hello.
func Names(defaults string) string {
	return refusing(defaults) + `
[[rule]]
name   = "others"
action = "accept"
`
}

// Strict permits one name.
func Strict(defaults string) string {
	return intercepted(defaults) + `
[[rule]]
name    = "names"
require = { sni = "` + Permitted + `", cipher = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"] }
action  = "accept"
`
}

// refusing refuses names.
func refusing(defaults string) string {
	return intercepted(defaults) + `
[[rule]]
name   = "names"
match  = { sni = ["` + Forbidden + `", "*.evil.example"] }
action = "reset"
`
}

func intercepted(defaults string) string {
	return "[default]\n" + defaults + `
[intercept]
ports = ["443", "8443"]
`
}
