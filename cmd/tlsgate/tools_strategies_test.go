//go:build tools

package main

import (
	"slices"
	"strings"
)

// strategy is what a tool is told to do.
type strategy struct {
	args []string
	// plain: what it sends says the same to every receiver, so that a permitted hello
	// has to pass if it does where nobody is in between.
	plain bool
}

func (s *strategy) String() string { return strings.Join(s.args, " ") }

// strategies are lines of arguments; with plain in front each is plain.
func strategies(plain bool, lines ...string) (list []strategy) {
	for _, l := range lines {
		list = append(list, strategy{strings.Fields(l), plain})
	}
	return list
}

// each is every combination of one of each list, in a line.
func each(lists ...[]string) []string {
	lines := []string{""}
	for _, l := range lists {
		var next []string
		for _, head := range lines {
			for _, tail := range l {
				next = append(next, strings.TrimSpace(head+" "+tail))
			}
		}
		lines = next
	}
	return lines
}

func one(s string) []string { return []string{s} }

// prefixed puts a prefix in front of each.
func prefixed(prefix string, list ...string) (out []string) {
	for _, s := range list {
		out = append(out, prefix+s)
	}
	return out
}

// ciadpiStrategies are byedpi's. Its fakes live for 8 hops. Pieces out of order it sends
// with a TTL of 1, and puts the TTL right with its next piece: what waits for an
// acknowledgement with a piece of the wrong kind last is repeated with a TTL of 1, for
// good, wherever packets take longer than between two namespaces. With twenty pieces
// that is often: where a queue accepts everything after 50 us, of 16 permitted hellos
// 10 were answered. So those are not plain.
func ciadpiStrategies() []strategy {
	places := []string{"1", "2", "5", "6", "43", "1+s", "0+sm", "-1", "-5+se", "3+s", "1:3:5", "10:20:7"}
	fakes := []string{"-t 8", "-t 5 -S", "-S", "-t 64"}
	kinds := []string{"", "-n www.good.example", "-n ????.example", "-O 1", "-l :GET", "-Q rand", "-Q orig", "-Q rand,orig -n www.good.example", "-Q msize=60"}
	return slices.Concat(
		strategies(true, each(one("-s"), places)...),
		strategies(true, each(one("-d"), places[:11])...),
		strategies(false, "-d 10:20:7", "-d 1:50:3"),
		strategies(true, each(one("-r"), places)...),
		strategies(false, each([]string{"-o", "-q"}, places, []string{"", "-e a"})...),
		strategies(false, each(one("-f"), places, fakes)...),
		strategies(false, each(one("-f"), []string{"-1", "1+s"}, []string{"-t 8", "-S"}, kinds)...),
		strategies(false, each(one("-r"), []string{"1+s", "1", "-1"}, []string{"-s 1+s", "-d 1", "-o 1+s", "-q 1", "-f -1 -t 8", "-f -1 -S", "-d 3+s -s 1+s"})...),
		strategies(false, each(one("-m"), []string{"1", "2", "3", "4", "9", "255"})...),
		strategies(true, "-r 1 -r 5 -r 1+s", "-r 1:100:1", "-s 1:200:0", "-d 1 -d 3+s -s 5+s", "-g 64", "-F", "-F -s 1", "-F -d 1", "-F -r 1+s"),
		strategies(false,
			"-Y -d 1", "-R 1-3 -s 1 -d 3+s", "-F -o 1", "-F -f -1 -t 8", "-F -f -1 -S",
			"-d 1 -A torst -r 1+s", "-A torst -f -1 -t 8", "-s 1 -A torst,ssl_err -f -1 -t 8 -A torst -o 1",
			"-K t -d 1 -A none -s 1", "-L s -T 1 -d 1+s -A torst -q 1 -A torst -f -1 -S -A torst -r 1+s",
			"-o 1 -d 1", "-s 1+s -o 3+s -q 5+s -f -1 -t 8", "-d 1 -s 1+s -d 3+s -s 6+s -d 9+s -s 12+s -d 15+s -s 20+s -d 25+s -s 30+s",
			"-f 1+s -t 8 -f 3+s -S -f -1 -t 6", "-q 1+s -e x -f -1 -t 8 -r 1+s", "-o 1:5:3 -e z"),
	)
}

// tpwsStrategies are those of zapret's tpws.
func tpwsStrategies() []strategy {
	places := []string{"1", "2", "5", "6", "-1", "host", "host+1", "midsld", "endhost", "sniext+1", "1,midsld", "1,host,midsld,endhost,-1", "2,3,4,5,6,7,8,9,10,11,12"}
	records := []string{"1", "2", "-1", "host", "midsld", "sniext+1", "endhost-1"}
	return slices.Concat(
		strategies(true, prefixed("--split-pos=", places...)...),
		strategies(true, each(prefixed("--split-pos=", places...), one("--disorder"))...),
		strategies(true, prefixed("--tlsrec=", records...)...),
		strategies(true, each(prefixed("--tlsrec=", records...), prefixed("--split-pos=", "1", "midsld", "1,host"), []string{"", "--disorder"})...),
		strategies(true, each(prefixed("--mss=", "88", "200", "536", "1000"), []string{"", "--split-pos=1", "--tlsrec=midsld"})...),
		strategies(true, "--split-any-protocol --split-pos=1", "--split-any-protocol --split-pos=1 --disorder", "--split-pos=1 --tamper-start=0 --tamper-cutoff=n2", "--skip-nodelay --tlsrec=1"),
		strategies(false, each(prefixed("--split-pos=", places...), one("--oob"), []string{"", "--disorder", "--oob-data=a", "--oob-data=0x16", "--tlsrec=midsld"})...),
	)
}

// nfqwsFooling are the ways in which zapret's nfqws hides its fakes from servers.
func nfqwsFooling() []string {
	const f = "--dpi-desync-fooling="
	return []string{
		"--dpi-desync-ttl=5", "--dpi-desync-autottl --dpi-desync-ttl=5", f + "md5sig", f + "badsum", f + "datanoack", f + "ts",
		f + "badseq", f + "badseq --dpi-desync-badseq-increment=0x80000000", f + "badseq --dpi-desync-badseq-increment=2 --dpi-desync-badack-increment=0",
		f + "badseq --dpi-desync-badseq-increment=0", f + "badseq --dpi-desync-badseq-increment=-1 --dpi-desync-badack-increment=1", f + "badseq --dpi-desync-badseq-increment=1000000",
		f + "ts --dpi-desync-ts-increment=-1000", f + "ts --dpi-desync-ts-increment=0x7fffffff",
		f + "hopbyhop", f + "hopbyhop2", f + "md5sig,badseq", f + "md5sig,badsum,ts", f + "md5sig --dpi-desync-ttl=5", f + "datanoack,badseq",
		"--dpi-desync-tcp-flags-set=SYN", "--dpi-desync-tcp-flags-set=FIN --dpi-desync-ttl=5", "--dpi-desync-tcp-flags-set=RST --dpi-desync-ttl=5",
		"--dpi-desync-tcp-flags-set=URG --dpi-desync-ttl=5", "--dpi-desync-tcp-flags-set=SYN,FIN,RST,PSH,URG", "--dpi-desync-tcp-flags-unset=ACK", "--dpi-desync-tcp-flags-unset=ACK,PSH",
		f + "none",
	}
}

// nfqwsStrategies are those of zapret's nfqws.
func nfqwsStrategies() []strategy {
	const d = "--dpi-desync="
	const at = "--dpi-desync-split-pos="
	fooling := nfqwsFooling()
	few := []string{fooling[0], fooling[2], fooling[5], fooling[6]}
	places := prefixed(at, "1", "2", "5", "6", "midsld", "1,midsld", "host", "endhost-1", "sniext+1", "-10", "1,2,3,4,5,6,7,8,sniext+1,midsld,-1")
	overlap := func(list ...string) []string { return prefixed("--dpi-desync-split-seqovl=", list...) }
	pattern := []string{"", "--dpi-desync-split-seqovl-pattern=0x1603010200010001fc0303"}
	positions := prefixed("--dpi-desync-ipfrag-pos-tcp=", "24", "32", "40", "64", "128")
	const mod = "--dpi-desync-fake-tls-mod="
	return slices.Concat(
		strategies(true, each(prefixed(d, "multisplit", "multidisorder", "split", "split2", "disorder", "disorder2"), places)...),
		strategies(true, each(one(d+"ipfrag2"), positions)...),
		// It leaves the extension header of the second fragment as it finds the memory.
		strategies(false, each(prefixed(d, "hopbyhop,ipfrag2", "destopt,ipfrag2"), positions)...),
		strategies(true, each(prefixed(d, "hopbyhop", "destopt", "ipfrag1"), one(""))...),
		strategies(true, each(prefixed(d, "hopbyhop,multisplit", "destopt,multidisorder", "ipfrag1,multisplit", "ipfrag1,multidisorder"), prefixed(at, "1", "midsld"))...),
		strategies(true, each(one(d+"multidisorder"), prefixed("--ip-id=", "zero", "seq", "seqgroup", "rnd"))...),
		strategies(true, "--dup=1", "--dup=3", "--dup=2 --dup-replace", "--dup=1 --dup-start=n2 --dup-cutoff=n4", "--dup=1 --dup-start=d1 --dup-cutoff=d3 --dup-ip-id=rnd", "--orig-ttl=64 --orig-ttl6=64", "--orig-tcp-flags-set=PSH", "--orig-tcp-flags-set=CWR,ECE", "--orig-tcp-flags-unset=PSH"),
		strategies(false, "--orig-tcp-flags-set=URG", "--orig-tcp-flags-set=R1,R2,R3,AE", "--orig-autottl=+40:40-64"),
		strategies(false, prefixed("--wssize=", "1:6", "1", "64:0", "1:6 --wssize-forced-cutoff=0 --wssize-cutoff=n6", "2:14 --dpi-desync=multisplit")...),
		strategies(false, "--wsize=1:6", "--wsize=64 --dpi-desync=fake --dpi-desync-ttl=5"),
		strategies(false, prefixed("--synack-split=", "syn", "synack", "acksyn")...),
		strategies(false, each(one(d+"multisplit"), places, overlap("1", "5", "200", "681"), pattern)...),
		strategies(false, each(one(d+"multidisorder"), []string{at + "2", at + "midsld", at + "host+1,-1", at + "sniext+4"}, overlap("1", "midsld-1", "host", "sniext+3"), pattern)...),
		strategies(false, each(prefixed(d, "fake", "rst", "rstack", "fakeknown", "fakedsplit", "fakeddisorder", "hostfakesplit", "fake,multisplit", "fake,multidisorder", "fake,fakedsplit", "rst,multidisorder", "fake,hostfakesplit"), fooling)...),
		strategies(false, each(prefixed(d, "fakedsplit", "fakeddisorder"), prefixed(at, "1", "midsld", "sniext+1", "-5"), few)...),
		strategies(false, each(prefixed(d, "fakedsplit", "fakeddisorder"), prefixed("--dpi-desync-fakedsplit-mod=altorder=", "1", "2", "3", "8", "16", "11"), few)...),
		strategies(false, each(prefixed(d, "fakedsplit", "fakeddisorder"), one("--dpi-desync-fakedsplit-pattern=0x16030100"), few)...),
		strategies(false, each(one(d+"hostfakesplit"), []string{"--dpi-desync-hostfakesplit-midhost=midsld", "--dpi-desync-hostfakesplit-mod=host=good.example", "--dpi-desync-hostfakesplit-mod=host=good.example,altorder=1"}, few)...),
		strategies(false, each(one(d+"fake"), prefixed(mod, "none", "rnd", "rnd,dupsid,sni=www.good.example", "rnd,rndsni,dupsid,padencap", "padencap"), few)...),
		strategies(false, each(one(d+"fake"), []string{"--dpi-desync-fake-tls=0x00000000", "--dpi-desync-fake-tls=!", "--dpi-desync-fake-tls=0x00000000 --dpi-desync-fake-tls=! " + mod + "rnd,dupsid", "--dpi-desync-repeats=6", "--dpi-desync-repeats=11 --dpi-desync-fake-tcp-mod=seq", "--dpi-desync-any-protocol=1 --dpi-desync-cutoff=n5", "--dpi-desync-any-protocol=1 --dpi-desync-start=n1", "--dpi-desync-skip-nosni=0"}, few)...),
		strategies(false, each(prefixed(d, "fake,ipfrag2", "rstack,ipfrag2"), few)...),
		strategies(false, each(prefixed(d, "syndata", "syndata,fake", "syndata,multisplit", "syndata,multidisorder", "synack", "synack,fake", "synack,multidisorder", "syndata,fake,multidisorder", "synack,fakeddisorder", "syndata,rst"), few)...),
		strategies(false, each(one(d+"syndata"), prefixed("--dpi-desync-fake-syndata=", "0x1603", "0x160301", "0x474554202f"))...),
		strategies(false, each([]string{"--dup=1", "--dup=2 --dup-cutoff=n3", "--dup=1 --dup-start=d1"}, []string{"--dup-ttl=5", "--dup-autottl", "--dup-fooling=md5sig", "--dup-fooling=badsum", "--dup-fooling=badseq", "--dup-fooling=ts", "--dup-fooling=datanoack", "--dup-fooling=hopbyhop2", "--dup-tcp-flags-set=FIN --dup-ttl=5", "--dup-tcp-flags-unset=ACK"})...),
		strategies(false, each(one("--wssize=1:6"), prefixed(d, "fake", "fakeddisorder", "multidisorder"), few)...),
		strategies(false,
			"--dup=1 --dup-cutoff=n2 --dup-fooling=md5sig "+d+"fake,multidisorder --dpi-desync-fooling=md5sig",
			"--dpi-desync-ttl=1 --dpi-desync-autottl=5 "+d+"fake,fakedsplit",
			d+"fake,multisplit "+at+"2,sld --dpi-desync-fake-tls=0x0F0F0F0F --dpi-desync-fake-tls=! "+mod+"rnd,dupsid,sni=www.good.example --dpi-desync-fooling=badseq",
			d+"multisplit "+at+"1 --dpi-desync-split-seqovl=652 --dpi-desync-split-seqovl-pattern=0x16030100",
			"--orig-ttl=1 --orig-mod-start=s1 --orig-mod-cutoff=d1 "+d+"fake --dpi-desync-ttl=5",
			"--orig-ttl=1 --orig-mod-start=s1 --orig-mod-cutoff=d1 "+d+"fake,fakeddisorder --dpi-desync-fooling=md5sig"),
	)
}

// nfqws2Strategies are those of zapret2's nfqws2, with the Lua programs that come
// with it.
func nfqws2Strategies() []strategy {
	const d = "--lua-desync="
	const hello = "--payload=tls_client_hello"
	fooling := []string{
		"ip_ttl=5:ip6_ttl=5", "ip_autottl=-1,3-20:ip6_autottl=-1,3-20", "tcp_md5", "badsum", "tcp_seq=-3000", "tcp_seq=1000000", "tcp_seq=1", "tcp_seq=-1",
		"tcp_ack=-66000:tcp_ts_up", "tcp_ack=1", "tcp_ts=-1000", "tcp_ts=100000", "tcp_flags_unset=ACK", "tcp_flags_set=SYN", "tcp_flags_set=RST:ip_ttl=5:ip6_ttl=5",
		"ip6_hopbyhop", "ip6_hopbyhop:ip6_hopbyhop2", "ip6_destopt", "ip6_routing", "ip6_ah", "tcp_nop_del:tcp_md5", "tcp_md5:tcp_ts=-1000:badsum",
	}
	tail := func(list []string) []string { return prefixed(":", list...) }
	joined := func(head string, tails []string) (out []string) {
		for _, t := range tails {
			out = append(out, hello+" "+d+head+t)
		}
		return out
	}
	var list []strategy
	for _, pos := range []string{"1", "2", "midsld", "1,midsld", "1,sniext+1,host+1,midsld-2,midsld,midsld+2,endhost-1"} {
		list = append(list, strategies(true, joined("multisplit:pos="+pos, one(""))...)...)
		list = append(list, strategies(true, joined("multidisorder:pos="+pos, one(""))...)...)
		list = append(list, strategies(true, joined("multidisorder_legacy:pos="+pos, one(""))...)...)
		list = append(list, strategies(false, joined("multisplit:pos="+pos, []string{":seqovl=1", ":seqovl=#fake_default_tls:seqovl_pattern=fake_default_tls"})...)...)
		list = append(list, strategies(false, joined("fakedsplit:pos="+strings.Split(pos, ",")[0], tail(fooling))...)...)
		list = append(list, strategies(false, joined("fakeddisorder:pos="+strings.Split(pos, ",")[0], tail(fooling))...)...)
	}
	for _, head := range []string{
		"fake:blob=fake_default_tls", "fake:blob=0x00000000", "fake:blob=fake_default_tls:tls_mod=rnd,dupsid,padencap", "fake:blob=fake_default_tls:repeats=6",
		"multisplit:blob=fake_default_tls:pos=2:nodrop", "hostfakesplit", "hostfakesplit:host=good.example:midhost=midsld", "hostfakesplit:nofake1:disorder_after=",
		"hostfakesplit:nofake2", "rst", "rst:rstack",
	} {
		list = append(list, strategies(false, joined(head, tail(fooling))...)...)
	}
	for _, urp := range []string{"b", "e", "0", "2", "midsld", "sniext+1"} {
		list = append(list, strategies(false, "--in-range=-s1 "+d+"oob:urp="+urp, "--in-range=-s1 "+d+"oob:byte=22:urp="+urp)...)
	}
	for _, repeats := range []string{"1", "20", "100"} {
		list = append(list, strategies(true, joined("tcpseg:ip_id=rnd:repeats="+repeats, tail([]string{"pos=0,1", "pos=0,midsld"}))...)...)
	}
	for _, then := range []string{"", hello + " " + d + "multisplit", hello + " " + d + "multidisorder", hello + " " + d + "fake:blob=fake_default_tls:tcp_md5"} {
		for _, first := range []string{
			"syndata", "syndata:blob=0x1603", "syndata:blob=fake_default_tls:tls_mod=rnd,dupsid,rndsni", "synack", "synack_split:mode=syn", "synack_split:mode=synack",
			"synack_split:mode=acksyn", "wssize:wsize=1:scale=6", "wsize:wsize=1:scale=6",
		} {
			list = append(list, strategies(false, strings.TrimSpace(d+first+" "+then))...)
		}
	}
	return append(list, strategies(false,
		hello+" "+d+"tcpseg:pos=0,-1:seqovl=1 "+d+"drop",
		hello+" "+d+"tcpseg:pos=0,-1:seqovl=#fake_default_tls:seqovl_pattern=fake_default_tls "+d+"drop",
		hello+" "+d+"multidisorder:pos=midsld:seqovl=midsld-1",
		hello+" "+d+"multidisorder:pos=2:seqovl=1:seqovl_pattern=fake_default_tls",
		hello+" "+d+"send:ipfrag:ipfrag_pos_tcp=32 "+d+"drop", hello+" "+d+"send:ipfrag:ipfrag_pos_tcp=32:ipfrag_disorder "+d+"drop",
		hello+" "+d+"send:ipfrag:ipfrag_pos_tcp=8 "+d+"drop", hello+" "+d+"send:ipfrag:ipfrag_next=255 "+d+"drop",
		hello+" "+d+"multidisorder:ipfrag:pos=1,midsld", hello+" "+d+"multisplit:ip6_destopt:ip6_hopbyhop:pos=1",
		hello+" "+d+"tls_client_hello_clone:blob=c:sni_del_ext:sni_first=www.good.example "+d+"fake:blob=c:tcp_md5",
		hello+" "+d+"tls_client_hello_clone:blob=c:sni_del:sni_last=www.good.example "+d+"fake:blob=c:ip_ttl=5:ip6_ttl=5 "+d+"multidisorder",
		"--payload=empty --out-range=s1<d1 "+d+"pktmod:ip_ttl=1:ip6_ttl=1 "+hello+" "+d+"fake:blob=fake_default_tls:ip_ttl=5:ip6_ttl=5",
		"--payload=empty --out-range=<s1 "+d+"send:tcp_md5 "+hello+" "+d+"fake:blob=fake_default_tls:tcp_md5",
	)...)
}

// youtubeUnblockStrategies are youtubeUnblock's: fakes, pieces and fakes between pieces, and
// what it does to the SYN.
func youtubeUnblockStrategies() []strategy {
	const alone = "--fake-sni=0"
	splits := each([]string{"--frag=tcp", "--frag=ip"}, prefixed("--frag-sni-reverse=", "0", "1"),
		[]string{"--frag-middle-sni=1", "--frag-middle-sni=0 --frag-sni-pos=1", "--frag-middle-sni=0 --frag-sni-pos=5", "--frag-middle-sni=1 --frag-sni-pos=0",
			"--frag-middle-sni=0 --frag-sni-pos=100"})
	list := strategies(true, each(one(alone), splits)...)
	list = append(list, strategies(true, each(one(alone), splits[:2], []string{"--seg2delay=30", "--seg2delay=300", "--fk-winsize=1000", "--sni-detection=brute"})...)...)
	spoiled := prefixed("--faking-strategy=", "randseq", "randseq --fake-seq-offset=0", "randseq --fake-seq-offset=1", "ttl --faking-ttl=5", "tcp_check", "pastseq",
		"md5sum", "timestamp", "timestamp --faking-timestamp-decrease=100", "timestamp --faking-timestamp-decrease=2147483647", "tcp_check,timestamp",
		"randseq,md5sum", "pastseq,ttl --faking-ttl=5")
	fakes := []string{"--fake-sni=1", "--fake-sni=1 --fake-sni-seq-len=5", "--fake-sni=1 --fake-sni-type=random", "--fake-sni=1 --fake-sni-type=custom --fake-custom-payload=1603010001"}
	list = append(list, strategies(false, each(fakes, spoiled, []string{"--frag=none", "--frag=tcp", "--frag=ip"})...)...)
	list = append(list, strategies(false, each([]string{"--fake-sni=0 --frag-sni-faked=1", "--fake-sni=1 --frag-sni-faked=1"}, spoiled, prefixed("--frag-sni-reverse=", "0", "1"))...)...)
	return append(list, strategies(false, each(prefixed("--synfake=1 --synfake-len=", "0", "1", "6", "100"), []string{alone + " --frag=none", alone, "--fake-sni=1"})...)...)
}
