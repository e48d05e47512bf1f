package tlswire

// InClear reports whether a side could begin a record now that its peer reads as
// it stands: nothing of a record or message is half said (RFC 8446, Section
// 5.1), and the peer does not expect it encrypted.
func (c *Conn) InClear(from Side) bool {
	return c.Version < VersionTLS13 && !c.sides[from].protected && c.Between(from)
}

// AnswerVersion is the record version that the client expects of an answer: the
// one negotiated, or before that its own (RFC 8446, Section 5.1, and RFC 5246,
// Appendix E.1), TLS 1.2 at most.
func (c *Conn) AnswerVersion(client Side) uint16 {
	v := c.Header[client].Version
	switch {
	case c.HasServerHello:
		v = c.Version
	case c.HasClientHello:
		v = c.ClientHello.LegacyVersion
	}
	if v < VersionSSL30 {
		return VersionTLS10
	}
	return min(v, VersionTLS12)
}

// AlertRecordLen is the length of a record with an alert in clear.
const AlertRecordLen = recordHeaderLen + alertLen

// AlertRecord is a fatal alert in clear.
func AlertRecord(version uint16, description uint8) [AlertRecordLen]byte {
	return [AlertRecordLen]byte{byte(RecordTypeAlert), byte(version >> 8), byte(version), 0, alertLen, byte(AlertLevelFatal), description}
}
