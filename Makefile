# Every target makes the virtual environment that it needs.  Options are make variables, for example:
#   make reproduce-dan DATASET=digits TASKS="mnist:usps usps:mnist" SEEDS=5 JOBS=2
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
# Nothing is compiled ahead: Python compiles what is imported, which is a small part of the packages, and keeps it, also
# where the environment forbids that: each of many short processes would compile PyTorch again, for six seconds.
INSTALL := -m pip install --quiet --no-compile
unexport PYTHONDONTWRITEBYTECODE
PAPERS := $(patsubst methods/%.py,%,$(shell grep -lE '^PAPER|paper=Paper' methods/*.py))

# A make variable becomes a command-line option if it is set, as it was typed: in single quotes, and what make would
# expand in it ($) left alone.  Names of folders may hold blanks, quotes, commas and more.
quoted = '$(subst ','\'',$(value $(1)))'
option = $(if $(value $(1)),$(2) $(call quoted,$(1)))
WHAT = $(foreach name,$(EXPERIMENT),--experiment $(name)) $(call option,DATASET,--dataset)
SHOWN = $(WHAT) $(call option,TRACK,--track) $(call option,BACKBONE,--backbone)
TABLES = $(SHOWN) $(call option,TASKS,--tasks) $(if $(ALL),--all)
EXPLORING = $(call option,SET,--set) $(call option,CLASSES,--classes) $(if $(KEEP),$(if $(filter 0,$(KEEP)),--no-keep,--keep))
HOW = $(WHAT) $(EXPLORING) $(call option,TASKS,--tasks) $(call option,SEEDS,--seeds) $(call option,TRACK,--track) \
      $(call option,BACKBONE,--backbone) $(call option,BATCHNORM,--batchnorm) $(call option,CUT,--cut) \
      $(call option,VIEWS,--views) $(call option,STATISTICS,--statistics) $(call option,DEVICE,--device) \
      $(call option,PRECISION,--precision) $(call option,THREADS,--threads) $(call option,DATA,--data) $(call option,RUNS,--runs)
DECIDING = $(SHOWN) $(call option,DATA,--data) $(call option,RUNS,--runs) \
           $(call option,JOBS,--jobs) $(call option,EXECUTOR,--executor) $(call option,ADDRESS,--address) \
           $(call option,GPUS,--gpus) $(call option,MEMORY,--memory)
RUNNING = $(HOW) $(call option,JOBS,--jobs) $(if $(CONTINUE_COMMITTED),--continue-committed) \
          $(if $(FORCE),--force) \
          $(call option,EXECUTOR,--executor) $(call option,ADDRESS,--address) $(call option,GPUS,--gpus) \
          $(call option,MEMORY,--memory)

# A variable that no target knows, or that the target does not use, is a mistake and not to be passed over.
PLANNED := EXPERIMENT DATASET TASKS SEEDS TRACK BACKBONE BATCHNORM CUT VIEWS STATISTICS DEVICE PRECISION THREADS SET CLASSES KEEP
EXECUTED := JOBS EXECUTOR ADDRESS GPUS MEMORY
TO_SHOW := EXPERIMENT DATASET TRACK BACKBONE
EVERYWHERE := SHELL PYTHON VENV DATA RUNS DATA_MIRROR DATA_ROOT SCREENSHOTS
USES_reproduce := $(PLANNED) $(EXECUTED) CONTINUE_COMMITTED FORCE ALL
USES_compare := $(filter-out ALL,$(USES_reproduce)) METHODS CHOOSE
USES_plan := $(PLANNED)
USES_status := $(PLANNED)
USES_choose := $(PLANNED) JOBS
USES_decide := EXPERIMENT DATASET TRACK BACKBONE $(EXECUTED)
USES_export := EXPERIMENT DATASET CONTRIBUTED
USES_table := $(TO_SHOW) TASKS ALL
USES_figures := $(TO_SHOW)
USES_paper-tables := FORMAT OUT
USES_predict := MODEL IMAGES FORMAT OUT
USES_data := DATASET
USES_bench := PEERS TOPIC
USES_torture := KILLS
USES_audit-results := DATASET DRAW UNDER JOBS
USES_check-regression := JOBS
VARIABLES := $(sort $(EVERYWHERE) ALL CONTRIBUTED $(USES_compare) $(USES_predict) $(USES_bench) $(USES_torture) $(USES_audit-results))
GIVEN := $(strip $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name))))
GIVEN := $(filter-out MAKEFLAGS MFLAGS MAKEOVERRIDES -*-command-variables-*-,$(GIVEN))
family = $(firstword $(foreach name,$(1) $(firstword $(subst -, ,$(1))),$(if $(filter USES_$(name),$(.VARIABLES)),$(name))))
used = $(EVERYWHERE) $(foreach goal,$(MAKECMDGOALS),$(USES_$(call family,$(goal))))
NEAREST = import difflib, sys; near = difflib.get_close_matches(sys.argv[1], sys.argv[2:], 1, 0.5); \
	print(f"did you mean {near[0]}?" if near else "make help lists them.")
define refuse
$(if $(filter $(1),$(VARIABLES)),$(error $(1) means nothing to `make $(MAKECMDGOALS)`: leave it out),\
$(error there is no variable $(1): $(shell $(PYTHON) -c '$(NEAREST)' '$(1)' $(VARIABLES))))
endef
$(foreach name,$(filter-out $(used),$(GIVEN)),$(call refuse,$(name)))
$(foreach name,$(GIVEN),$(if $(strip $(value $(name))),,$(error $(name) is empty: give it a value or leave it out)))

# What is written of results/ and committed with it.
WRITTEN = $(PY) -m report write

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env audit audit-results bench torture test test-page test-regression check-regression check format data report claims paper-tables clean

help: ## List all targets and options
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/; s/%/PAPER/' | expand -t 20
	@echo "Options: DATASET TASKS EXPERIMENT SEEDS JOBS TRACK BACKBONE BATCHNORM CUT VIEWS STATISTICS DEVICE PRECISION THREADS"
	@echo "         SET=METHOD.FIELD=VALUE, CLASSES=common, KEEP=1 or 0, FORCE=1, CONTINUE_COMMITTED=1; of compare METHODS, CHOOSE=1"
	@echo "         EXECUTOR=ray, and for it ADDRESS, and GPUS and MEMORY (GB) of a cell"
	@echo "         DATA and RUNS (folders), DATA_MIRROR (folder or URL with copies of the data), PYTHON and VENV (of the environment)"
	@echo "Papers:  $(PAPERS), or all"

reproduce-%: $(VENV)/run.stamp $(if $(filter ray,$(EXECUTOR)),$(VENV)/cluster.stamp) ## Regenerate a paper's tables: data, training, answer beside the published one; with ALL=1 every table
	@$(PY) -m benchmarks reproduce $* $(RUNNING); status=$$?; \
	if [ $$status -le 1 ]; then echo; $(PY) -m report table $* $(TABLES) $(call option,RUNS,--runs) || exit $$?; fi; \
	exit $$status

compare: $(VENV)/run.stamp $(if $(filter ray,$(EXECUTOR)),$(VENV)/cluster.stamp) ## Compare all methods, or METHODS, on DATASET, and say which one to take
	@$(PY) -m benchmarks compare $(RUNNING) $(call option,METHODS,--methods) $(if $(CHOOSE),--choose); status=$$?; \
	if [ $$status -le 1 ]; then echo; $(PY) -m report compare $(call quoted,DATASET) $(if $(CLASSES),--classes $(CLASSES)) $(call option,RUNS,--runs) || exit $$?; fi; \
	exit $$status

predict: $(VENV)/run.stamp ## Classify IMAGES (a file or folder) with the kept network MODEL; with OUT into that file, with FORMAT=json as JSON
	@$(PY) -m benchmarks predict $(call quoted,MODEL) $(call quoted,IMAGES) $(call option,FORMAT,--format) $(call option,OUT,--out) \
	    $(call option,DATA,--data) $(call option,RUNS,--runs)

plan-%: $(VENV)/run.stamp ## Show what reproduce-PAPER would run
	@$(PY) -m benchmarks plan $* $(HOW)

status-%: $(VENV)/run.stamp ## Show which cells of a paper are done, committed, missing or failed
	@$(PY) -m benchmarks status $* $(HOW)

# First the number follows from what is committed, or the first stage is completed; then from that, and all of it is run.
decide-%: $(VENV)/run.stamp ## Run as many replicates of a paper's tables as a first stage's spread asks for, and merge them into results/
	@for stage in first second; do \
	$(PY) -m report decide $* $(SHOWN) && \
	$(PY) -m benchmarks decide $* $(DECIDING) || exit $$?; done
	@$(WRITTEN)

choose-%: $(VENV)/run.stamp ## Choose a method's weight again, without target labels (results/choices.csv)
	@$(PY) -m benchmarks choose $* $(HOW) $(call option,JOBS,--jobs)

export-%: $(VENV)/run.stamp ## Merge what was run here into results/; with CONTRIBUTED=NAME into results/contributed/NAME/
	@$(PY) -m benchmarks export $* $(WHAT) $(call option,CONTRIBUTED,--contributed) $(call option,DATA,--data) \
	    $(call option,RUNS,--runs)
	@$(if $(CONTRIBUTED),$(PY) -m report contributed,$(WRITTEN))

table-%: $(VENV)/run.stamp ## Print a paper's answer and main table from what is there; with ALL=1 every table
	@$(PY) -m report table $* $(TABLES) $(call option,RUNS,--runs)

figures-%: $(VENV)/run.stamp ## Draw a paper's figures into runs/figures/
	@$(PY) -m report figures $* $(SHOWN) $(call option,RUNS,--runs)

report: $(VENV)/run.stamp ## Write everything as web pages into report/site/
	@$(PY) -m report site $(call option,RUNS,--runs)

claims: $(VENV)/run.stamp ## Write the ledger of claims: claims.csv, claim_cells.csv and CLAIMS.md in results/
	@$(PY) -m report claims

paper-tables: $(VENV)/run.stamp ## Write all that is committed with the results; with FORMAT=tex or csv the tables alone, into the folder OUT
	@$(if $(FORMAT),$(PY) -m report tables --format $(FORMAT) --out $(if $(OUT),$(call quoted,OUT),runs/tables-$(FORMAT)),$(WRITTEN))

bench: $(VENV)/run.stamp ## Time the suite, or what TOPIC names; with PEERS=1 also skada and pytorch-adapt
	@$(if $(PEERS),$(PY) -c '$(call REQUIREMENTS,p["optional-dependencies"]["peers"])' > $(VENV)/peers.txt && \
	    $(PY) $(INSTALL) -c constraints.txt -r $(VENV)/peers.txt &&) \
	$(PY) -m benchmarks bench $(if $(PEERS),--peers) $(foreach name,$(TOPIC),--topic $(name)) $(call option,DATA,--data)

data: $(VENV)/run.stamp ## Fetch and verify DATASET, or list all data sets
	@$(PY) -m benchmarks data $(if $(value DATASET),$(call quoted,DATASET)) $(call option,DATA,--data)

test: $(VENV)/dev.stamp ## Run the tests, without test-regression and test-page
	@$(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not regression and not page"

test-regression: $(VENV)/dev.stamp ## Train on small real data and compare with the committed accuracy bands
	@$(PY) -m pytest -n auto --maxschedchunk 1 -m regression

test-page: $(VENV)/page.stamp ## Try the pages in a headless Chromium (SCREENSHOTS=FOLDER keeps pictures); compile the LaTeX tables
	@$(PY) -m pytest -m page tests/report

torture: $(VENV)/dev.stamp ## Kill a plan KILLS times, damage and misuse everything; takes long
	@$(PY) -m tests.torture $(call option,KILLS,--kills) $(call option,DATA,--data)

override REGRESSION := runs/regression
check-regression: $(VENV)/run.stamp ## Run the small trainings of the accuracy bands anew and print what moved
	@rm -rf $(REGRESSION)
	@$(PY) -m report check-regression --list | while read -r paper dataset task; do \
	$(PY) -m benchmarks reproduce $$paper --dataset $$dataset --tasks $$task --seeds 3 --runs $(REGRESSION) \
	    $(call option,JOBS,--jobs) $(call option,DATA,--data) < /dev/null || exit $$?; done
	@$(PY) -m report check-regression --runs $(REGRESSION)

audit-results: $(VENV)/run.stamp ## Run all committed cells again, or DRAW of them at random (of those under UNDER seconds), and list those that differ
	@$(PY) -m benchmarks audit $(call option,DATASET,--dataset) $(call option,DRAW,--draw) $(call option,UNDER,--under) \
	    $(call option,JOBS,--jobs) $(call option,DATA,--data) $(call option,RUNS,--runs)

check: $(VENV)/dev.stamp ## Lint, formatting and types
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

audit: $(VENV)/run.stamp ## Look up the pinned packages among the known vulnerabilities
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv --clear $(VENV)/audit && \
	    $(VENV)/audit/bin/python $(INSTALL) "pip-audit>=2.7,<3"; }
	@$(VENV)/audit/bin/python .ci/audit

format: $(VENV)/dev.stamp ## Format the code
	@$(PY) -m ruff check --fix . && $(PY) -m ruff format .

env: $(VENV)/dev.stamp ## Create the virtual environment

clean: ## Remove the virtual environment; data/, runs/ and results/ stay
	rm -rf $(VENV)

# The browser is Debian's: no package index carries one.
$(VENV)/page.stamp: $(VENV)/dev.stamp
	@$(PY) -c '$(call REQUIREMENTS,p["optional-dependencies"]["page"])' > $(VENV)/page.txt
	@$(PY) $(INSTALL) -c constraints.txt -r $(VENV)/page.txt
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then echo "Installing Chromium ..."; \
	apt-get install -qq -y --no-install-recommends chromium >/dev/null || { apt-get update -qq && \
	apt-get install -qq -y --no-install-recommends chromium >/dev/null; }; \
	else echo "Chromium is needed and not found; install it (Debian: apt-get install chromium)." >&2; exit 2; fi
	@touch $@

# Only the dependencies are installed: the suite runs from its checkout, because its folders' names are common ones.
REQUIREMENTS = import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	print("\n".join(p["dependencies"] + $(1)))

$(VENV)/run.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=.") if sys.version_info < (3, 11) else 0'
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PY) -c '$(call REQUIREMENTS,[])' > $(VENV)/run.txt
	@echo "Installing the packages (several GB with PyTorch for GPUs) ..."
	@$(PY) $(INSTALL) -c constraints.txt -r $(VENV)/run.txt
	@touch $@

$(VENV)/cluster.stamp: $(VENV)/run.stamp
	@$(PY) -c '$(call REQUIREMENTS,p["optional-dependencies"]["cluster"])' > $(VENV)/cluster.txt
	@$(PY) $(INSTALL) -c constraints.txt -r $(VENV)/cluster.txt
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	@$(PY) -c '$(call REQUIREMENTS,p["optional-dependencies"]["dev"] + p["optional-dependencies"]["cluster"])' > $(VENV)/dev.txt
	@$(PY) $(INSTALL) -c constraints.txt -r $(VENV)/dev.txt
	@touch $@
