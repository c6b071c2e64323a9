# Targets for developers; `make check test` is what a change must pass.

PYTHON ?= python
PYTHON38 ?= python3.8
VENV38 ?= .venv/py38
# Everything that Isaac Gym's Python runs: the engine, the task, the commands, and Isaac Gym's backend through its double.
TESTS38 ?= tests/ppo_grasp tests/tasks tests/test_python38.py tests/test_command_line.py
IGNORE38 = --ignore=tests/tasks/simulators/mujoco --ignore=tests/tasks/simulators/mujoco_warp

.PHONY: check docs test fuzz test-py38 imports-py38

check:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

# The documentation as a site, in build/site; needs `pip install -c constraints.txt -e '.[docs]'`.  Warnings are errors.
docs:
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict

test:
	$(PYTHON) -m pytest -n 2 --dist loadfile

# Many more inputs than the test suite draws: about four minutes on two cores.
fuzz:
	FUZZ_EXAMPLES=500 $(PYTHON) -m pytest -n 2 --dist loadfile tests/fuzz

# On PyPI torch for Python 3.8 is the CUDA build: 0.8 GB without the NVIDIA libraries that come with it.
test-py38: $(VENV38)/installed
	$(VENV38)/bin/python -m pytest $(IGNORE38) $(TESTS38)

$(VENV38)/installed: pyproject.toml constraints.txt
	$(PYTHON38) -m venv $(VENV38)
	$(VENV38)/bin/python -m pip install --upgrade pip
	$(VENV38)/bin/python -m pip install -c constraints.txt -e '.[test]'
	touch $@

# Without torch: imports every module on Python 3.8 with a stand-in for it, to see that nothing newer is evaluated.
imports-py38: $(VENV38)-light/installed
	$(VENV38)-light/bin/python tests/import_without_torch.py

$(VENV38)-light/installed: constraints.txt
	$(PYTHON38) -m venv $(VENV38)-light
	$(VENV38)-light/bin/python -m pip install -c constraints.txt numpy mujoco scipy trimesh networkx tyro
	touch $@
