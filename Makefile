# Thin on purpose: each target is one command, and what it does is written in Rust (xtask, tests/cluster, tests/e2e).
CLUSTER := cargo run --quiet --package evenkeel-cluster
E2E     := cargo test --quiet --package evenkeel --test e2e --
TOOLS   := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/evenkeel/tools

.PHONY: help demo demo-images bench calibration proof hops conformance clean-cluster test lint flake fuzz crds image reproduce krew deny score sbom chart

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Tell the whole story on an embedded cluster (KEEP=1 leaves it running)
	cargo run --package evenkeel-cluster --bin evenkeel-demo -- $(if $(KEEP),--keep)

demo-images: ## Build the demo's server and client as dist/demo-server.tar and dist/demo-client.tar, for a cluster of your own
	cargo run --quiet --package evenkeel-cluster --bin evenkeel-demo -- --images dist

bench: ## Measure and write docs/benchmarks*.md, and figures into the README
	cd benches/reader && cargo run --release
	cargo run --package evenkeel-cluster --bin evenkeel-bench

proof: ## Run servers of other people, and show what findings predict: docs/proof.md and docs/harms.md
	$(E2E) --proof $(ARGS)

hops: ## Measure what Envoy and nginx cost, and what becomes of calls through them: docs/hops.md
	$(E2E) --proof --jobs 1 --filter proxies::
	cargo xtask docs

conformance: ## Measure every client in every mode, and write docs/clients.md (CELLS=part,of,names for some; goes on where it ended)
	$(E2E) --conformance $(if $(CELLS),--cells '$(CELLS)') $(ARGS); status=$$?; cargo xtask docs && exit $$status

calibration: ## Simulate how often the verdict errs, and write docs/verdict.md
	cargo run --quiet --package evenkeel-calibration

clean-cluster: ## End a kept cluster (NAME=demo)
	$(CLUSTER) --bin evenkeel-cluster -- --name $(or $(NAME),demo) down

test: ## Run every test, those on a real cluster included (ARGS="--phase rust" for a part)
	cargo xtask test $(ARGS)

lint: ## Check formatting and lints only
	cargo xtask test --phase lint

flake: ## Repeat tests on a real cluster (TEST=part-of-name[,another] N=50), and count in docs/repetitions.md
	$(E2E) --filter '$(or $(TEST),$(error say which test: make flake TEST=name N=50))' --repeat $(or $(N),50) --count docs/repetitions.md

fuzz: ## Throw made-up input at what reads the text of others (TARGET=manifests SECONDS=60)
	cargo xtask fuzz $(TARGET) --seconds $(or $(SECONDS),60)

crds: ## Write what is generated: the definition, the kustomize roles, tables in docs/
	cargo xtask crd
	cargo xtask rbac
	cargo xtask docs

image: ## Build the static binary and dist/evenkeel.tar
	cargo xtask image

reproduce: ## Build the image twice, in different places, and compare the digests
	cargo xtask reproduce

krew: ## Build the kubectl plugin: an archive and its krew manifest in dist/
	cargo xtask krew

deny: ## Check licences, bans and sources by cargo-deny, built the first time (DENY="advisories bans licenses sources" asks the network too)
	cargo install --quiet --locked --version 0.20.2 --root $(TOOLS) cargo-deny
	$(TOOLS)/bin/cargo-deny --all-features check $(or $(DENY),bans licenses sources)

score: ## Let kube-score look at the chart, with each of the combinations of values
	cargo test --quiet --package evenkeel --test manifests kube_score

sbom: ## Write dist/evenkeel.cdx.json, the bill of materials (CycloneDX)
	cargo xtask sbom

chart: ## Package the chart into dist/
	helm package charts/evenkeel --destination dist
