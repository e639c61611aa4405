# The two commands that do all the set-up: `make spinup` and `make test`.
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.tools/bin:$(PATH)
PYTHON := python3
# How many times its limit a measured number may be, on a machine that others use too.
SLACK := 1
# Length of each half of the sustained numbers, with the control plane and with the echo.
BENCH_SECONDS := 60
# Length of a soak with each store, and its commands; SOAK_ARGS takes what `python -m soak` takes.
SOAK_MINUTES := 30
SOAK_COMMANDS := 2000
SOAK_ARGS :=
# A sample of the mutants: the time for all sets together, and what draws it.
MUTATION_MINUTES := 15
MUTATION_SEED := 1
# The tests of a file stay on one worker: they share a homeserver, an engine or a guest. In the order
# of the folders, integration first: by their number, a file with two long tests would come last.
PLACED := --dist loadfile --no-loadscope-reorder
WORKERS := --numprocesses 2 $(PLACED)
# Twice the two processors that CI has: half of an integration test's time is waiting.
TEST_WORKERS := --numprocesses 4 $(PLACED)
# Here each test has an app and a name of its own, so any worker of the three takes any test: one file
# has a third of the time, and half of a test's time is waiting for the swarm.
RECIPE_WORKERS := --numprocesses 3 --dist worksteal
# Long lives of the engine without a swarm; `make test-thorough` has them.
WITHOUT_MACHINES := --ignore tests/integration/recipes/test_engine_thousand.py \
  --deselect tests/unit/recipes/engine/test_runner_machine.py::test_long_lives
# What `make agent-image` takes, such as `--docker-host unix:///run/other.sock`.
AGENT_IMAGE :=
# Subjects of commits have a form from the one after this on (tools/commit_message.py).
SUBJECTS_SINCE := 5d2daef

.DEFAULT_GOAL := help

.PHONY: help spinup test test-thorough test-nixpkgs-versions lint docs bench bench-guest bench-crowd bench-recipes soak \
  mutation mutation-sample coverage-properties \
  check-nix test-docker test-docker-thorough test-recipes test-recipes-way test-recipes-way-thorough agent-image test-forge test-s3 test-agents-own test-agents-own-shell test-agents \
  test-agents-browser test-pages test-guest test-guest-thorough setup-spinup setup-dev setup-tools setup-guest requirements clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 28

setup-spinup:
	@$(PYTHON) tools/setup.py spinup

setup-dev:
	@$(PYTHON) tools/setup.py dev

setup-tools: ## Get sops and age, for instances with secrets
	@$(PYTHON) tools/setup.py tools

setup-guest: setup-dev setup-tools ## Get what guests need: Incus, mmdebstrap and more (root; Debian)
	@$(PYTHON) tools/guest_host.py

spinup: setup-spinup ## Make an agency on this machine, prove it, sign the transcript
	@mkdir -p artifacts
	@spinup_smoke --target local --output artifacts/boot_transcript.json

test: setup-dev setup-tools lint ## Set up and run the tests
	pytest $(TEST_WORKERS) -m "not docker and not forge and not agents and not templates and not pages and not guest and not thorough" --ignore tests/nix --ignore tests/guest

test-thorough: setup-dev setup-tools ## The variants that `make test` leaves out
	pytest $(WORKERS) -m "thorough and not docker and not forge and not agents and not templates and not pages and not guest" --ignore tests/nix --ignore tests/guest

test-docker: setup-dev ## Test the reconcilers and agents in containers on a real Docker Engine (root)
	@$(PYTHON) tools/setup.py docker recipes
	AGENCY_REQUIRE_DOCKER=1 pytest $(TEST_WORKERS) -m "docker and not thorough and not forge" tests/integration

test-docker-thorough: setup-dev ## The variants that `make test-docker` leaves out, but for recipe CI (root)
	@$(PYTHON) tools/setup.py docker
	AGENCY_REQUIRE_DOCKER=1 pytest $(WORKERS) -m "docker and thorough and not forge" \
	  --ignore tests/integration/recipes tests/integration

test-recipes: setup-dev ## Test recipe CI with all its faults on a real Docker Swarm and forge (root; Debian)
	@$(PYTHON) tools/gitea.py
	@$(PYTHON) tools/setup.py docker recipes
	@$(PYTHON) tools/recipe_programs.py
	AGENCY_REQUIRE_DOCKER=1 AGENCY_REQUIRE_FORGE=1 pytest $(RECIPE_WORKERS) --durations 25 \
	  -m "not (docker and forge and thorough)" $(WITHOUT_MACHINES) \
	  tests/integration/recipes tests/unit/recipes

test-recipes-way: setup-dev ## Test recipe CI from a comment on a real forge to its verdict (root; Debian)
	@$(PYTHON) tools/gitea.py
	@$(PYTHON) tools/setup.py docker recipes
	AGENCY_REQUIRE_DOCKER=1 AGENCY_REQUIRE_FORGE=1 pytest -m "docker and forge and not thorough" tests/integration/recipes

test-recipes-way-thorough: setup-dev ## The same for the five further kinds of recipes (root; Debian)
	@$(PYTHON) tools/gitea.py
	@$(PYTHON) tools/setup.py docker recipes
	@$(PYTHON) tools/recipe_programs.py
	AGENCY_REQUIRE_DOCKER=1 AGENCY_REQUIRE_FORGE=1 pytest -m "docker and forge and thorough" tests/integration/recipes

test-forge: setup-dev ## Test the forge's contract on a real Gitea (builds it once: 6 to 20 minutes)
	@$(PYTHON) tools/gitea.py
	AGENCY_REQUIRE_FORGE=1 pytest -m forge tests/integration/forge

test-s3: setup-dev ## Test backups to a real S3 server (builds it once: 2 to 5 minutes)
	@$(PYTHON) tools/s3_server.py
	AGENCY_REQUIRE_S3=1 pytest tests/integration/backup/test_s3.py

test-agents-own: setup-dev ## Test public command-line agents under the agency's policy (fetches them)
	@$(PYTHON) tools/agent_clis.py
	AGENCY_REQUIRE_AGENTS=1 pytest --numprocesses 2 --dist load -m agents tests/integration/agent \
	  tests/integration/control/test_working_agent.py

test-agents-own-shell: setup-dev ## Test one of them with its own shell, in a container (root; 2 minutes)
	@$(PYTHON) tools/setup.py docker
	@$(PYTHON) tools/agent_clis.py
	AGENCY_REQUIRE_AGENTS=1 AGENCY_REQUIRE_DOCKER=1 pytest -m agents tests/integration/control/test_contained_command.py

test-agents: setup-dev ## Test the agents' templates end to end: rooms, model, tools, browser, forge
	@$(PYTHON) tools/gitea.py
	@$(PYTHON) tools/agent_browser.py
	AGENCY_REQUIRE_TEMPLATES=1 pytest -m templates tests/integration/control/templates tests/integration/browser

test-agents-browser: setup-dev ## The part of it that needs no forge: the template browser-agent, an agent's own browser
	@$(PYTHON) tools/agent_browser.py
	AGENCY_REQUIRE_TEMPLATES=1 pytest -m "templates and not thorough" -k browser \
	  tests/integration/control/templates tests/integration/browser

test-pages: setup-dev ## Test the pages of the dashboard in a headless Chromium, with axe-core
	@$(PYTHON) tools/page_checks.py
	AGENCY_REQUIRE_PAGES=1 pytest -m pages tests/integration/pages

agent-image: setup-dev ## Make the image of agents in containers; give it to the Docker Engine here
	@PYTHONPATH=tools python -m agentimage $(AGENT_IMAGE)

test-guest: setup-guest ## Test throwaway guests on a real Incus (root; builds an image)
	AGENCY_TEST_GUEST_DIR="$${XDG_CACHE_HOME:-$$HOME/.cache}/agency/guest-tests" \
	  AGENCY_REQUIRE_GUEST=1 pytest $(WORKERS) -m guest tests/integration/guest

test-guest-thorough: setup-guest ## The same, and more: every step interrupted (an hour)
	@$(PYTHON) tools/setup.py recipes
	@$(PYTHON) tools/gitea.py
	AGENCY_THOROUGH=1 AGENCY_REQUIRE_GUEST=1 AGENCY_REQUIRE_DOCKER=1 AGENCY_REQUIRE_FORGE=1 \
	  pytest $(WORKERS) -m guest tests/integration/guest

lint: setup-dev ## Format check, lint, types, layers; names commits of another form
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	@python tools/surfaces.py
	@$(PYTHON) tools/commit_message.py --since $(SUBJECTS_SINCE)

docs: setup-dev ## Write the generated files anew: commands, claims, what NixOS reads of the program
	python tools/docgen/shell.py docs/cli.md
	python tools/docgen/room.py docs/commands.md
	python tools/docgen/instance.py docs/instance.md
	python tools/docgen/openapi.py docs/openapi.json
	python tools/docgen/gosuto.py docs
	python tools/docgen/acp.py docs/acp.md
	python tools/docgen/workspace.py docs/workspace-schemas.json
	python tools/docgen/claims.py
	python tools/facts.py

check-nix: setup-dev ## Evaluate the NixOS modules (needs Nix, <nixpkgs> and <sops-nix>)
	pytest tests/nix -q

test-nixpkgs-versions: ## The unit suite with nixpkgs' versions of the libraries (needs Nix, <nixpkgs>)
	@$(PYTHON) tools/nixpkgs_versions.py

bench: setup-dev ## Measure the numbers; exits 1 when a limit is missed
	@mkdir -p artifacts
	@BENCH_SECONDS=$(BENCH_SECONDS) python -m benchmarks --slack $(SLACK) --output artifacts/bench.jsonl

bench-guest: setup-guest ## Measure a throwaway guest (root; builds an image)
	@mkdir -p artifacts
	@AGENCY_REQUIRE_GUEST=1 python -m benchmarks --slack $(SLACK) --output artifacts/bench-guest.jsonl guest

bench-crowd: setup-dev ## Measure fifty agents in one local agency (10 GB of memory; minutes)
	@mkdir -p artifacts
	@python -m benchmarks --slack $(SLACK) --output artifacts/bench-crowd.jsonl crowd

bench-recipes: setup-dev ## Measure the harness's own part of a recipe's run (root; Debian)
	@mkdir -p artifacts
	@$(PYTHON) tools/setup.py docker recipes
	@PYTHONPATH=tests/support AGENCY_REQUIRE_DOCKER=1 python -m benchmarks --slack $(SLACK) \
	  --output artifacts/bench-recipes.jsonl recipes

soak: setup-dev ## Soak with SQLite and PostgreSQL: parts ended at random, every answer judged (an hour)
	@mkdir -p artifacts
	@python -m soak --minutes $(SOAK_MINUTES) --commands $(SOAK_COMMANDS) --output artifacts/soak.jsonl \
	  $(SOAK_ARGS)

mutation: setup-dev ## Mutation scores of grammar, policy, approvals and more; lists survivors (hours)
	@nice python tools/mutation.py

mutation-sample: setup-dev ## The same for a sample that a seed draws, in MUTATION_MINUTES (MUTATION_SEED=1)
	@nice python tools/mutation.py --minutes $(MUTATION_MINUTES) --seed $(MUTATION_SEED)

coverage-properties: setup-dev ## Lines and branches that the properties reach, by area (a table)
	@nice python tools/coverage_properties.py

requirements: ## Pin the dependencies anew (needs uv)
	uv pip compile -q --upgrade --generate-hashes --no-header --no-annotate --python-version 3.11 \
	  --extra full --extra local --extra postgresql --extra dev -o requirements/dev.txt pyproject.toml
	uv pip compile -q --generate-hashes --no-header --no-annotate --python-version 3.11 \
	  --extra full --extra local -c requirements/dev.txt -o requirements/spinup.txt pyproject.toml
	uv pip compile -q --generate-hashes --no-header --no-annotate --python-version 3.11 \
	  --extra full --extra local --extra postgresql --extra guest -c requirements/dev.txt \
	  -o requirements/guest.txt pyproject.toml
	uv pip compile -q --generate-hashes --no-header --no-annotate --python-version 3.11 \
	  --extra recipes --extra recipes-proxy -c requirements/dev.txt -o requirements/recipes.txt pyproject.toml

clean: ## Remove what set-up and runs made here (docs/guests.md: what guests leave elsewhere)
	rm -rf .venv .tools artifacts .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
