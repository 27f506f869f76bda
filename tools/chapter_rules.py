"""What every chapter must be, checked without running it. Each fault says where, and what to do."""

import ast
import re
from functools import cache
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
TAGS = {"remove-cell", "hide-input", "hide-output", "agree", "nbval-ignore-output"}
MAX_BYTES, MAX_LINES, MAX_COLUMNS = 400_000, 15, 72
METADATA = {"kernelspec", "language_info"}
CELL_METADATA = {"tags", "mystnb"}
# what no chapter derives: it holds, guards or stores what others compute, or a later part shows it
PLUMBING = {
    *("check_mask", "LearnedPositions", "SinusoidalPositions", "GPTConfig", "TrainConfig"),
    *("Rules", "DraftModel", "Lookup", "make_optimizers", "Pairs", "basic_words", "word_spans"),
    *("refuse_surrogates", "PromptTask", "tasks", "SharedPrefix", "Reader", "label_scores"),
    *("BERTConfig", "DALLEConfig", "pretraining_head_params", "Masking", "ordinary_ids"),
    *("MaskedBatches", "restoration", "SequenceHead", "TokenHead", "SpanHead", "FineTuned"),
    *("ExampleBatches", "collate", "finetune", "predict", "Example", "of_texts", "of_words"),
    *("of_questions", "tags_of", "Question", "read_squad", "write_squad", "squad_scores"),
    *("span_baseline", "linear_text", "linear_tags", "linear_spans", "f1_first", "word_features"),
    *("MatchingDiscriminator", "TextToImageGAN", "TextToImageConfig", "text_to_image_loss"),
    *("GANConfig", "GAN", "gan_loss", "RingBatches", "players", "centres", "play", "look"),
    *("ClassifierConfig", "Classifier", "classifier_loss", "features", "moments", "bootstrap"),
    *("precision_recall", "CLIPConfig", "clip_loss", "chance_at", "DVAEConfig", "dvae_loss"),
    *("check_images", "check_ids", "VQVAE", "vq_loss", "k_means", "averaged", "as_texts"),
    *("look_up", "run"),
    "DALLE",  # chapter 17 derives its decoder and its loss; the rest holds the dVAE
    "forward_flops",  # chapter 04 writes it out in an assert
}
ASKS = re.compile(r"[Bb]efore you run")
HEADING = re.compile(r"^#+ ", re.MULTILINE)
LOCAL = re.compile(
    r"(?<![\w./:])/(?:home|root|work|tmp|Users|opt|usr|var)/[\w./-]+|[A-Z]:\\\\?Users"
)
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")


def setup_source() -> str:
    """The first code cell of every chapter, tagged remove-cell."""
    return (ROOT / "tools" / "setup_cell.py").read_text().strip()


def faults(path: Path) -> list[str]:
    """Everything that is wrong with one chapter, a sentence each."""
    try:
        nbformat.read(path, 4)  # validates, but repairs what we look for
        notebook = nbformat.reader.reads(path.read_text("utf-8"))
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    except Exception as error:
        return [f"{path.name}: is not a readable notebook ({error}); restore it"]
    found = [*_file(path, notebook), *_order(code), *_ids(notebook.cells), *_setup(code)]
    found += [fault for cell in code for fault in [*_code(cell), *_outputs(cell)]]
    found += [*_ignored(code), *_predictions(notebook.cells)]
    found += [*_definitions(path.stem, code), *_text(notebook.cells)]
    return [f"{path.name}: {fault}" for fault in found]


def _file(path, notebook):
    if path.stat().st_size > MAX_BYTES:
        yield f"is {path.stat().st_size:,} bytes, over {MAX_BYTES:,}: draw fewer or smaller figures"
    extra = set(notebook.metadata) - METADATA - {"widgets"}
    if extra or any(set(c.metadata) - CELL_METADATA for c in notebook.cells):
        yield "has metadata of an editor: run tools/notebooks.py clean"
    if "widgets" in notebook.metadata:
        yield "stores widget state: run it again with tools/notebooks.py run"


def _order(code):
    counts = [cell.execution_count for cell in code]
    for place, (cell, count) in enumerate(zip(code, counts), 1):
        if count != place:
            yield (
                f"cell {cell.id} was executed as number {count}, not {place}: "
                "run the whole chapter with tools/notebooks.py run"
            )
            return


def _ids(cells):
    seen = set()
    for cell in cells:
        if (
            cell.id in seen
            or not re.fullmatch(r"[a-z][a-z0-9-]{2,63}", cell.id)
            or re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{8}-[0-9a-f-]+", cell.id)
        ):
            yield f"cell {cell.id} needs a unique id of words, such as why-divide: name it"
        seen.add(cell.id)


def _setup(code):
    first = code[0] if code else None
    if first is None or first.source.strip() != setup_source():
        yield "the first code cell is not the set-up cell: run tools/notebooks.py clean"
    elif first.metadata.get("tags") != ["remove-cell"]:
        yield "the set-up cell is not tagged remove-cell: run tools/notebooks.py clean"


def _code(cell):
    lines = cell.source.splitlines()
    wide = [line for line in lines if len(line) > MAX_COLUMNS]
    if len(lines) > MAX_LINES and cell.metadata.get("tags") != ["remove-cell"]:
        yield f"cell {cell.id} has {len(lines)} lines, over {MAX_LINES}: make it two ideas"
    if wide:
        yield f"cell {cell.id} is {max(map(len, wide))} columns wide, over {MAX_COLUMNS}: break it"
    unknown = set(cell.metadata.get("tags", [])) - TAGS
    if unknown:
        known = ", ".join(sorted(TAGS))
        yield f"cell {cell.id} has the tag {', '.join(sorted(unknown))}: use only {known}"
    try:
        ast.parse(cell.source)
    except SyntaxError:
        yield f"cell {cell.id} is not plain Python: leave out magics and shell commands"


def _outputs(cell):
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        text = output.get("text", "") + data.get("text/plain", "") + data.get("text/html", "")
        if output.output_type == "error":
            yield f"cell {cell.id} stores an error, {output.ename}: mend it and run again"
        if output.get("name") == "stderr":
            yield f"cell {cell.id} stores a warning: mend its cause, {text.strip()[:60]!r}"
        if any("widget" in kind for kind in data):
            yield f"cell {cell.id} stores a widget: print text instead"
        for pattern, what in ((LOCAL, "a path of one machine"), (ADDRESS, "an object's address")):
            if match := pattern.search(text):
                yield f"cell {cell.id} prints {what}, {match.group(0)!r}: print something else"
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
        if any(kind.startswith("image/") for kind in data) and not alt:
            yield f"cell {cell.id} draws a figure without alt text: describe it in mystnb.image.alt"


def _ignored(code):
    """A cell whose output is not compared must be followed by an assert that could fail."""
    for i, cell in enumerate(code):
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            near = code[i : i + 4]
            if not any(isinstance(n, ast.Assert) for c in near for n in _walk(c)):
                yield f"cell {cell.id} ignores its output and no assert follows it: assert a band"


def _predictions(cells):
    """What answers "Before you run the next cell" is closed, and nothing else is.

    A question reaches to the next one or to the next heading. One that an assert alone answers has
    no output to close.
    """
    stretches = [(None, [])]  # the cell that asks, and the code cells within its reach
    for cell in cells:
        if cell.cell_type == "code":
            stretches[-1][1].append(cell)
        elif ASKS.search(cell.source):
            stretches.append((cell.id, []))
        elif HEADING.search(cell.source):
            stretches.append((None, []))
    for asks, code in stretches:
        closed = [c for c in code if "hide-output" in c.metadata.get("tags", [])]
        shows = [c for c in code if c.get("outputs")]
        if asks is None:
            for cell in closed:
                yield f"cell {cell.id} closes its output, but no question stands before it: ask one"
        elif shows and shows[0] is code[0] and code[0] not in closed:
            yield f"cell {code[0].id} answers cell {asks} in the open: tag it hide-output"
        elif shows and not closed:
            yield f"cell {asks} asks, but its answer is in the open: tag that cell hide-output"


def _walk(cell):
    try:
        return list(ast.walk(ast.parse(cell.source)))
    except SyntaxError:
        return []


@cache
def derived_modules() -> dict[str, tuple[str, ...]]:
    """The chapters that a module's line `Derived` names, for each module that has such a line."""
    found = {}
    for path in sorted((ROOT / "mini_models").rglob("*.py")):
        said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        if line := re.search(r"^Derived (.*(?:\n .*)*)", said, re.M):
            name = ".".join(path.relative_to(ROOT / "mini_models").with_suffix("").parts)
            found[name] = tuple(re.findall(r"(\d\d_\w+)\.ipynb", line[1]))
    return found


@cache
def exported() -> dict[str, str]:
    """Public classes and functions of the modules that chapters derive, each with its module."""
    names = {}
    for module in derived_modules():
        path = ROOT / "mini_models" / (module.replace(".", "/") + ".py")
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name[0] != "_":
                names[node.name] = module
    return names


def _defined(code):
    """(name, cell) of each class, function and lambda that stands at the left edge of a cell."""
    for cell in code:
        for node in ast.parse(cell.source).body if _walk(cell) else []:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                yield node.name, cell
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
                yield from ((t.id, cell) for t in node.targets if isinstance(t, ast.Name))


def _definitions(chapter, code):
    """A concept is defined in its own chapter, once, with an agree cell, and imported elsewhere."""
    names, derived = exported(), {}
    for name, cell in _defined(code):
        if name not in names:
            continue
        if chapter not in derived_modules()[names[name]]:
            yield f"cell {cell.id} defines {name} again: import it from mini_models.{names[name]}"
        elif derived.setdefault(name, cell.id) != cell.id:
            yield (
                f"cell {cell.id} defines {name} again: keep the one in cell {derived[name]}, "
                "and give a variation a name of its own"
            )
    agree = [cell for cell in code if "agree" in cell.metadata.get("tags", [])]
    spoken = {n.id for c in agree for n in _walk(c) if isinstance(n, ast.Name)}
    spoken |= {n.name for c in agree for n in _walk(c) if hasattr(n, "name")}
    for name in sorted(set(derived) - spoken):
        yield (
            f"cell {derived[name]} derives {name}, but no cell tagged agree compares it "
            "with the package: add one"
        )
    for cell in agree:
        if not any(isinstance(n, ast.Assert) for n in _walk(cell)) and "assert_" not in cell.source:
            yield f"cell {cell.id} is tagged agree but compares nothing: assert that both are equal"


def faults_between(paths: list[Path]) -> list[str]:
    """What is wrong among chapters: a concept derived in two of them, or in none."""
    names, found, homes = exported(), [], {}
    for path in paths:
        code = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
        for name in dict.fromkeys(name for name, _ in _defined(code) if name in names):
            homes.setdefault(name, []).append(path.stem)
    for module, chapters in derived_modules().items():
        for chapter in chapters:
            if chapter not in {p.stem for p in paths}:
                continue  # not among those that are looked at
            if not any(names[name] == module and chapter in homes[name] for name in homes):
                found.append(
                    f"{chapter} derives nothing of mini_models.{module}, whose line Derived names "
                    "it: take it out there"
                )
    for name, module in names.items():
        where, wanted = homes.get(name, []), derived_modules()[module]
        if len(where) > 1:
            found.append(f"{name} is derived in {' and '.join(where)}: import it in the second")
        if where and name in PLUMBING:
            found.append(f"{name} is derived in {where[0]}: remove it from PLUMBING")
        if not where and name not in PLUMBING and set(wanted) <= {p.stem for p in paths}:
            found.append(
                f"{name} of mini_models.{module} is derived in no chapter: derive it in "
                f"{' or '.join(wanted)}, or add it to PLUMBING in tools/chapter_rules.py"
            )
    return found


def _text(cells):
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    if not cells or not cells[0].source.startswith("# "):
        yield "does not begin with a title: make the first cell '# Name' and the question"
    exercises = re.findall(r"\{exercise\}.*?\n:label: (\S+)", text)
    solutions = re.findall(r"\{solution\} (\S+)", text)
    if len(exercises) < 3:
        yield f"has {len(exercises)} exercises: give at least three"
    for label in set(exercises) ^ set(solutions):
        yield f"exercise {label} has no solution, or the solution no exercise: add the other"
    for heading in ("## What we have now", "## Toy versus paper", "## Sources"):
        if heading not in text:
            yield f"has no section '{heading[3:]}': every chapter ends with it"
