# make demo   install what is missing, build, run the lab: the main job on real packets
# make test   install what is missing, check the code, run every test
# make bench  the benchmark: ratios measured in one run
# make adversary  play every trick of docs/EVASION.md, and print the table
# make tools  run what others publish against us: TLSGATE_NFQWS=/path/to/nfqws make tools
# make fuzz   every fuzz target for FUZZTIME each
# make oracle    compare us with tshark and Suricata over CAPTURES
# make captures  make testdata/captures anew with real programs

GO       ?= go
FUZZTIME ?= 20s
CAPTURES ?= $(wildcard testdata/captures/*.pcapng)
export GOFLAGS ?= -buildvcs=false
# A test that fails fails its pipe.
SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -c

.PHONY: build demo test lint bench adversary tools fuzz oracle captures deps generate clean

build:
	$(GO) build -o bin/tlsgate ./cmd/tlsgate

deps:
	@scripts/deps

demo: deps build
	bin/tlsgate lab

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change: $$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags tools ./cmd/tlsgate
	$(GO) tool staticcheck ./...

test: deps lint
	FRESH=1 scripts/fuzz 1s
	CI=$${CI:-} $(GO) test -timeout 18m ./...

bench: deps build
	scripts/bench

adversary: deps
	$(GO) test -count=1 -v -run 'TestIntegrationAdversary|TestTricks' ./internal/adversary ./cmd/tlsgate | grep -v '^=== '

tools: deps
	$(GO) test -count=1 -v -tags tools -timeout 60m -run TestIntegrationTools ./cmd/tlsgate | grep -v '^=== '

fuzz:
	scripts/fuzz $(FUZZTIME)

oracle:
	@scripts/oracle $(CAPTURES)

captures:
	scripts/captures

generate:
	$(GO) generate ./...

clean:
	rm -rf bin
