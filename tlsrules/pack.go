package tlsrules

import "tlsgate/tlsrules/tlswire"

// Pack packs what a connection has said, as far as Facts hold it themselves: not what
// they point to, nor what Facts begin with, but for Began.
func (f *Facts) Pack(p *tlswire.Packing) {
	tlswire.PackNumber(p, &f.Known)
	tlswire.PackNumber(p, &f.Never)
	tlswire.PackNumber(p, &f.Lost)
	tlswire.PackNumber(p, &f.Began)
	tlswire.PackNumber(p, &f.Protocol)
	tlswire.PackNumber(p, &f.Via)
	tlswire.PackNumber(p, &f.Contains)
	tlswire.PackNumber(p, &f.Resumes)
	tlswire.PackNumber(p, &f.Resumed)
	tlswire.PackNumber(p, &f.Group)
	tlswire.PackNumber(p, &f.DHBits)
	tlswire.PackNumber(p, &f.Content)
	tlswire.PackNumber(p, &f.Alert.Level)
	tlswire.PackNumber(p, &f.Alert.Description)
	p.Flags(&f.GroupSettled, &f.ContainsOver, &f.CertExpired, &f.Renegotiates, &f.HasAlert, &f.Alert.Encrypted, &f.Alert.Inferred)
}

// Alone reports whether a copy of j would be a Judgement of its own.
func (j *Judgement) Alone() bool { return j.more == nil }
