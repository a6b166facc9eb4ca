# Every target sets up what it needs; `make help` lists them.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
DEBIAN_PACKAGES := binutils busybox chromium curl fonts-dejavu-core gcc git haproxy lbzip2 libarchive-tools libc6-dev libseccomp2 locales lz4 nginx-light openssl p7zip-full pigz redis-tools systemd unzip xz-utils zip zstd
HOSTILE_PACKAGES := libarchive-tools lbzip2 nginx-light openssl xz-utils zip zstd
CLUSTER_PACKAGES := lbzip2 nginx-light redis-tools
BENCH_PACKAGES := curl lbzip2 nginx-light pbzip2 pigz rclone wrk xz-utils
SCREENSHOT_PACKAGES := chromium fonts-dejavu-core lbzip2
FUZZ_PACKAGES := libarchive-tools p7zip-full zip zstd
GSUTIL := .venv-gsutil
PROMTOOL := $(BIN)/promtool

.PHONY: help demo cluster-demo test test-fronts coverage fuzz hostile chaos faults soak bench simulation paint evictionbench clusterbench imagebench screenshots dashboard check audit lock install-check wheel format clean
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

# Every package is pinned, with its hashes, and comes as a wheel: nothing is built but the devserver, by a pinned setuptools.
INSTALL := install --quiet --quiet --disable-pip-version-check
LOCKED := $(INSTALL) --require-hashes --only-binary :all: --requirement
EDITABLE := $(INSTALL) --no-deps --no-build-isolation --editable .

$(VENV)/ready: setup.py pyproject.toml requirements-dev.lock
	@echo "Setting up $(VENV), with all that tests and checks need: this takes some minutes ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip $(LOCKED) requirements-dev.lock
	@$(BIN)/pip $(EDITABLE)
	@touch $@

# The demonstration needs little of that: where the other is not there, it has a small environment of its own.
DEMO_VENV := $(if $(wildcard $(VENV)/ready),$(VENV),.venv-demo)

.venv-demo/ready: setup.py requirements-demo.lock
	@echo "Setting up .venv-demo, with the devserver and a storage emulator: this takes about a minute ..."
	@$(PYTHON) -m venv .venv-demo
	@.venv-demo/bin/pip $(LOCKED) requirements-demo.lock
	@.venv-demo/bin/pip $(EDITABLE)
	@touch $@

demo: $(DEMO_VENV)/ready ## stage a build from an emulated Google Cloud Storage; DEMO_ARGS=--once ends by itself
	$(DEMO_VENV)/bin/python -m demo $(DEMO_ARGS)

cluster-demo: $(VENV)/ready ## stage builds by two devservers and two workers, and kill one of each on the way
	./debian-packages $(CLUSTER_PACKAGES)
	$(BIN)/python -m demo.cluster $(DEMO_ARGS)

# What reads metrics, alerts and their tests as Prometheus does.
$(PROMTOOL): | $(VENV)/ready
	./debian-program prometheus usr/bin/promtool $@

# Twice as many processes as there are cores, for most tests wait for a server most of their time.
test: $(VENV)/ready $(PROMTOOL) ## run the tests; TEST_ARGS goes to pytest
	./debian-packages $(DEBIAN_PACKAGES)
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal $(TEST_ARGS)

# The suites that say what clients see, with an nginx before every devserver: that of one, and that of several.
FRONT_SUITES := tests/test_contract.py tests/test_hostile.py tests/test_static_boundary.py tests/test_static_files.py

test-fronts: $(VENV)/ready ## run the contract, hostile and static suites through each nginx that we configure
	./debian-packages $(DEBIAN_PACKAGES)
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal --front nginx $(TEST_ARGS) $(FRONT_SUITES)
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal --front spread $(TEST_ARGS) $(FRONT_SUITES)

# Apart from `make test`: it takes twice as long, and a process that a test kills may leave it half-written files.
coverage: $(VENV)/ready $(PROMTOOL) ## run the tests and say which lines they did not reach, in every process
	./debian-packages $(DEBIAN_PACKAGES)
	rm -f .coverage .coverage.*
	-$(BIN)/python -m pytest --numprocesses 4 --dist worksteal --cov --cov-report= $(TEST_ARGS)
	$(BIN)/coverage report

fuzz: $(VENV)/ready ## read 200,000 texts and 600,000 searched-out inputs that nobody should write, and ask the JSON API; FUZZ_ARGS="--only tar --seconds 60"
	FUZZ_RUNS=20000 $(BIN)/python -m pytest --capture=no tests/test_fuzz.py
	./debian-packages $(FUZZ_PACKAGES)
	$(BIN)/python -m campaigns.fuzz $(FUZZ_ARGS)
	API_EXAMPLES=120 $(BIN)/python -m pytest --capture=no tests/test_api_document.py

hostile: $(VENV)/ready ## send thousands of hostile requests and files, in every way there is; HOSTILE_ARGS="--one-in 10"
	./debian-packages $(HOSTILE_PACKAGES)
	$(BIN)/python -m campaigns.hostile $(HOSTILE_ARGS)

chaos: $(VENV)/ready ## kill, break and fill what can be, and check every byte; CHAOS_ARGS="--rounds 200 --seed 1"
	$(BIN)/python -m campaigns.chaos $(CHAOS_ARGS)

faults: $(VENV)/ready ## have every system call of what changes the disk fail once; FAULTS_ARGS="--only remove"
	./debian-packages gcc libc6-dev
	$(BIN)/python -m campaigns.faults $(FAULTS_ARGS)

MINUTES ?= 10
soak: $(VENV)/ready ## a lab's mixed load for MINUTES=10, and what grows over it; SOAK_ARGS="--seed 1"
	$(BIN)/python -m campaigns.soak --minutes $(MINUTES) $(SOAK_ARGS)

# gsutil has an environment of its own: what it pins is not what the devserver needs.
$(GSUTIL)/ready:
	@echo "Setting up $(GSUTIL) ..."
	@$(PYTHON) -m venv $(GSUTIL)
	@$(GSUTIL)/bin/pip install --quiet --quiet --disable-pip-version-check gsutil
	@touch $@

bench: $(VENV)/ready $(GSUTIL)/ready ## measure beside gsutil, rclone and curl; BENCH_ARGS=--quick, "--only build", ...
	./debian-packages $(BENCH_PACKAGES)
	$(BIN)/python -m bench $(BENCH_ARGS)

simulation: $(VENV)/ready ## how many devservers does a lab need: a model, held to a small real lab; SIMULATION_ARGS="needed --devices 800", ...
	./debian-packages lbzip2
	$(BIN)/python -m bench.simulation $(SIMULATION_ARGS)

screenshots: $(VENV)/ready ## take pictures of every page, for the documents; SCREENSHOT_ARGS="--only front", ...
	./debian-packages $(SCREENSHOT_PACKAGES)
	$(BIN)/python -m screenshots $(SCREENSHOT_ARGS)

paint: $(VENV)/ready ## measure how soon a browser shows the front page with a thousand builds
	./debian-packages $(SCREENSHOT_PACKAGES)
	$(BIN)/python -m bench.first_paint $(PAINT_ARGS)

dashboard: $(VENV)/ready ## write docs/grafana-dashboard.json, after a change of dashboard/
	$(BIN)/python -m dashboard

evictionbench: $(VENV)/ready ## measure how long it takes to decide which of ten thousand builds go
	$(BIN)/python -m bench.eviction

clusterbench: $(VENV)/ready ## measure how much sooner two workers of a cluster stage builds than one
	./debian-packages redis-tools
	$(BIN)/python -m bench.cluster

imagebench: $(VENV)/ready ## measure how an image with holes is staged, beside GNU tar
	$(BIN)/python -m bench.sparse_image

check: $(VENV)/ready ## lint, types, format, lock files, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python .ci/lock.py --check
	$(BIN)/python .ci/audit.py $(AUDIT_ARGS)

audit: $(VENV)/ready ## ask for known vulnerabilities alone; AUDIT_ARGS=--required fails where none can be asked
	$(BIN)/python .ci/audit.py $(AUDIT_ARGS)

lock: $(VENV)/ready ## write the lock files, after a change of setup.py; LOCK_ARGS=--upgrade takes the newest of everything
	$(BIN)/python .ci/lock.py $(LOCK_ARGS)
	@touch $(VENV)/ready

install-check: $(VENV)/ready ## install nothing, and each extra alone, into clean environments, and start all of it there; CHECK_ARGS="--only 3.13"
	./debian-packages redis-tools
	$(BIN)/python .ci/install_check.py $(CHECK_ARGS)

wheel: $(VENV)/ready ## build the wheel: the same bytes for the same commit, in dist/
	rm -rf build
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	rm -rf build

format: $(VENV)/ready ## put the code into its one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what the other targets made
	rm -rf $(VENV) .venv-demo build *.egg-info .coverage .coverage.* .mypy_cache .ruff_cache .hypothesis
