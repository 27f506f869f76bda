"""What `pytest --nbval notebooks` compares beyond printed text: pictures, the kinds of all outputs
(also where the output itself is ignored), and what the code of the solutions does and prints."""

import pytest
from nbformat.v4 import new_code_cell, new_output
from nbval.plugin import IPyNbCell, IPyNbFile

import pictures
from solutions import solutions

# Of the 100 pictures of the book, those drawn again were at most 0.01 from the stored ones, in
# another font at most 0.04, and no two were nearer to each other than 0.07, in one chapter 0.09.
# What shows timings or live training was up to 0.14 away.
TOLERANCE, LIVE_TOLERANCE = 0.05, 0.3
SHAPES = 0.05  # relative; a label in another font may need more room

KEEP = "get_ipython().kept = {**globals()}"
RESTORE = "(lambda names, kept: (names.clear(), names.update(kept)))(globals(), get_ipython().kept)"


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    found = yield
    return [
        Chapter.from_parent(parent, path=file_path) if isinstance(one, IPyNbFile) else one
        for one in found
    ]


class Chapter(IPyNbFile):
    """The code cells of a notebook, then the solutions that have code."""

    def collect(self):
        number = -1
        for plain in super().collect():
            number = plain.cell_num
            yield Cell.from_parent(
                self, name=plain.name, cell_num=number, cell=plain.cell, options=plain.options
            )
        for label, code, printed in solutions(self.nb):
            number += 1
            said = [new_output("stream", name="stdout", text=printed)] if printed else []
            cell = new_code_cell(code, id=label, execution_count=number, outputs=said)
            options = {"check": bool(printed), "skip": False, "check_exception": False}
            yield Solution.from_parent(
                self, name=f"Solution {label}", cell_num=number, cell=cell, options=options
            )

    def stored_pictures(self) -> dict[str, str]:
        """Each stored picture, by the name of its cell and its place there."""
        return {
            f"{cell.id}, picture {place}": png
            for cell in self.nb.cells
            if cell.cell_type == "code"
            for place, png in enumerate(pngs(cell.outputs), 1)
        }


class Cell(IPyNbCell):
    """A cell whose outputs must be of the stored kinds, and whose pictures must show the same."""

    def __init__(self, **given):
        super().__init__(**given)
        self.live = not self.options["check"]  # its text may differ from run to run
        self.options["check"] = True

    def compare_outputs(self, test, ref, skip_compare=None):
        if kinds(test) != kinds(ref):
            self.comparison_traceback = [
                f"cell {self.cell.id} stores {kinds(ref)} and now gives {kinds(test)}: "
                "run `make notebooks` to store its outputs anew"
            ]
            return False
        if not self.live and not super().compare_outputs(test, ref, skip_compare):
            return False
        self.comparison_traceback = [
            f"cell {self.cell.id}, picture {place}, {fault}: look at it, and if it is as it "
            "should be, run `make notebooks` to store it anew"
            for place, (old, new) in enumerate(zip(pngs(ref), pngs(test)), 1)
            if (fault := self.fault(old, new))
        ]
        return not self.comparison_traceback

    def fault(self, old: str, new: str) -> str | None:
        """What is wrong with a picture, if anything is."""
        change, bound = pictures.distance(old, new), LIVE_TOLERANCE if self.live else TOLERANCE
        if change > bound:
            return f"is {change:.3f} from the stored one, over {bound}"
        is_now, was = pictures.shape(new), pictures.shape(old)
        if abs(is_now / was - 1) > SHAPES:
            return f"is {is_now:.2f} times as wide as high, the stored one {was:.2f} times"
        if change > TOLERANCE:  # so much may be chance, if no other picture is meant
            for name, other in self.parent.stored_pictures().items():
                if other != old and pictures.distance(other, new) < change:
                    return f"is nearer to what is stored as {name}"

    def repr_failure(self, excinfo):
        return super().repr_failure(excinfo).replace(f"Cell {self.cell_num}:", f"{self.name}:", 1)

    def reportinfo(self):
        return self.path, 0, self.nodeid


class Solution(Cell):
    """The code of a solution, run as a cell after the last one; then all its names are undone.

    So no solution can lean on another, and all meet the chapter as a reader does who has run it.
    """

    def compare_outputs(self, test, ref, skip_compare=None):
        if self.live:
            return True
        printed = [output for output in test if output.output_type == "stream"]
        return IPyNbCell.compare_outputs(self, printed, ref, skip_compare)

    def setup(self):
        super().setup()
        self.parent.kernel.execute_cell_input(KEEP)

    def teardown(self):
        self.parent.kernel.execute_cell_input(RESTORE)
        super().teardown()


def pngs(outputs) -> list[str]:
    return [one.data["image/png"] for one in outputs if "image/png" in one.get("data", {})]


def kinds(outputs) -> list[str]:
    """What each output is: the name of a stream, or how and in which formats it is shown."""
    return [
        one.name if one.output_type == "stream"
        else f"{one.output_type} of {' and '.join(sorted(one.get('data', {})))}"
        for one in outputs
    ]  # fmt: skip
