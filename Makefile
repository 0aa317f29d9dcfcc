# Each command sets up what it needs: a virtual environment in .venv, from the pinned versions.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install demo demo-video study-video docs docs-figures test test-all lint format clean \
	bench-evaluation bench-data bench-model bench-systems bench-attention bench-long-video \
	bench-startup bench-video

help:
	@echo "make demo              make the data, train loco_plus_small on it, test it, show the table"
	@echo "make demo-video        the same from films: pictures and sound in, a page with players out"
	@echo "make test              the fast test suite"
	@echo "make test-all          the slow tests too; what they leave out of src/loco"
	@echo "make lint              ruff, ruff format, mypy"
	@echo "make bench-evaluation  metric, NMS and assignment against plain loops"
	@echo "make bench-data        a training item against loading whole files"
	@echo "make bench-model       parameters, operations and time of each attention strategy"
	@echo "make bench-systems     each system's training and inference, relative to LoCo's time per operation"
	@echo "make bench-attention   attention against the plain formula, in time and memory"
	@echo "make bench-long-video  time and memory of a prediction on three hours of video"
	@echo "make bench-startup     what --help costs, against a start with torch"
	@echo "make bench-video       extraction by stage, against the decoder alone"
	@echo "make study-video       what sight and sound are worth alone in the films of demo-video"
	@echo "make docs              the documentation as a site, in site/; runs the notebooks"
	@echo "make docs-figures      the pictures of README and docs, of the newest demo or of RUN='DEMO LCC'"
	@echo "make install           the virtual environment alone"

install: .venv/installed

.venv/installed: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/loco make-synthetic
	$(BIN)/loco train experiment=demo

demo-video: install
	$(BIN)/loco make-videos
	$(BIN)/loco extract videos=data/world/films root=data/world/features
	$(BIN)/loco train experiment=demo_video output_dir=outputs/demo_video/train
	$(BIN)/loco predict videos=data/world/new ckpt_path=outputs/demo_video/train min_score=0.2 \
		"formats=[html,srt]" output_dir=outputs/demo_video/new

# a thread for each of pytest's processes, and for the commands that they start; a file stays whole, as its
# tests share runs
test test-all: export OMP_NUM_THREADS = 1

test: install
	$(BIN)/pytest -n auto --dist loadfile -m "not slow"

test-all: install
	$(BIN)/pytest -n auto --dist loadfile --cov

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-evaluation: install
	$(BIN)/python benchmarks/evaluation.py

bench-data: install
	$(BIN)/python benchmarks/data.py

bench-model: install
	$(BIN)/python benchmarks/model.py

bench-systems: install
	$(BIN)/python benchmarks/systems.py

bench-attention: install
	$(BIN)/python benchmarks/attention.py

bench-long-video: install
	$(BIN)/python benchmarks/long_video.py

bench-startup: install
	$(BIN)/python benchmarks/startup.py

bench-video: install
	$(BIN)/python benchmarks/video.py

study-video: install
	$(BIN)/loco make-videos
	$(BIN)/loco extract videos=data/world/films root=data/world/features
	$(BIN)/loco train -m experiment=demo_video data.modality=both,audio,visual seed=0,1,2 \
		hydra.sweep.dir=multirun/study_video report=false
	$(BIN)/loco tabulate multirun/study_video --reference data.modality=both --over-seeds --baselines

docs: install
	$(BIN)/python -m docs.build_site

docs-figures: install
	$(BIN)/python -m docs.draw_figures $(RUN)

clean:
	rm -rf .venv build site .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
