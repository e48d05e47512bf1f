package tlswire

// A FaultField names what a Malformed status found broken. The zero value,
// FaultNone, is no fault. The values are stable: String is used in logs and as
// a metric label.
type FaultField uint8

// The faults of the record layer come first, then those of handshake messages,
// then the bounds of Limits; FaultField.Kind depends on this order.
const (
	FaultNone FaultField = iota

	FaultRecordType       // unknown, or not possible at this point of the connection
	FaultRecordVersion    // RFC 8446, Section 5.1
	FaultRecordLength     // empty, or longer than RFC 8446, Section 5.1 and RFC 5246, Section 6.2.3 allow
	FaultInterleaved      // another record type inside a handshake message, or bytes after a key change
	FaultChangeCipherSpec // not the single byte 1
	FaultAlert            // not two bytes, or a level that is neither warning nor fatal

	FaultMessageOrder // a handshake message its sender may not send now
	FaultMessageLength
	FaultVersion
	FaultRandom
	FaultSessionID
	FaultCipherSuites
	FaultCompressionMethods
	FaultExtensions
	FaultDuplicateExtension
	FaultServerName
	FaultStatusRequest
	FaultSupportedGroups
	FaultECPointFormats
	FaultSignatureAlgorithms
	FaultALPN
	FaultSupportedVersions
	FaultCookie
	FaultKeyShare
	FaultPSKModes
	FaultPreSharedKey
	FaultRenegotiationInfo
	FaultECH
	FaultFlagExtension // an extension that carries nothing carries something

	FaultMessageTooLong // Limits.Hello or Limits.Certificate
	FaultTooManyRecords // Limits.RecordsPerMessage
)

var faultNames = [...]string{
	FaultNone:                "none",
	FaultRecordType:          "record_type",
	FaultRecordVersion:       "record_version",
	FaultRecordLength:        "record_length",
	FaultInterleaved:         "interleaved",
	FaultChangeCipherSpec:    "change_cipher_spec",
	FaultAlert:               "alert",
	FaultMessageOrder:        "message_order",
	FaultMessageLength:       "message_length",
	FaultVersion:             "version",
	FaultRandom:              "random",
	FaultSessionID:           "session_id",
	FaultCipherSuites:        "cipher_suites",
	FaultCompressionMethods:  "compression_methods",
	FaultExtensions:          "extensions",
	FaultDuplicateExtension:  "duplicate_extension",
	FaultServerName:          "server_name",
	FaultStatusRequest:       "status_request",
	FaultSupportedGroups:     "supported_groups",
	FaultECPointFormats:      "ec_point_formats",
	FaultSignatureAlgorithms: "signature_algorithms",
	FaultALPN:                "application_layer_protocol_negotiation",
	FaultSupportedVersions:   "supported_versions",
	FaultCookie:              "cookie",
	FaultKeyShare:            "key_share",
	FaultPSKModes:            "psk_key_exchange_modes",
	FaultPreSharedKey:        "pre_shared_key",
	FaultRenegotiationInfo:   "renegotiation_info",
	FaultECH:                 "encrypted_client_hello",
	FaultFlagExtension:       "flag_extension",
	FaultMessageTooLong:      "message_too_long",
	FaultTooManyRecords:      "too_many_records",
}

func (f FaultField) String() string { return name(faultNames[:], uint8(f)) }

// A FaultKind is the layer a fault belongs to: what decides between the reasons
// malformed.record, malformed.handshake and limit.hello.
type FaultKind uint8

const (
	NoFault FaultKind = iota
	RecordFault
	HandshakeFault
	LimitFault
)

// Kind returns the layer of the fault.
func (f FaultField) Kind() FaultKind {
	switch {
	case f == FaultNone:
		return NoFault
	case f < FaultMessageOrder:
		return RecordFault
	case f < FaultMessageTooLong:
		return HandshakeFault
	}
	return LimitFault
}

// A Fault says what is broken and where. The zero Fault is none.
type Fault struct {
	Field FaultField
	// Offset is where the broken field begins: from the first byte of the
	// handshake message's header, or of the record's header if Field is a
	// RecordFault.
	Offset int32
}

func faultAt(f FaultField, offset int) Fault { return Fault{f, int32(offset)} }

// OK reports whether there is no fault.
func (f Fault) OK() bool { return f.Field == FaultNone }

// name looks up a value in a table of names; what has no name is "unknown".
func name(names []string, v uint8) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}
