"""The code that stands in the solutions of a chapter, and what the solutions say that it prints."""

import re

SOLUTION = re.compile(r"^(`{3,})\{solution\} (\S+)\n(.*?)^\1(?!`)", re.MULTILINE | re.DOTALL)
# a python block, and the block of text that may follow it: what it prints
CODE = re.compile(r"^```python\n(.*?)^```\n(?:\n*```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)


def solutions(notebook) -> list[tuple[str, str, str]]:
    """(label, code, what it prints) of each solution that has code, in the order of the chapter.

    Several blocks of one solution are one program. What it prints is "" where nothing is said.
    """
    texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = []
    for _, label, body in (match for text in texts for match in SOLUTION.findall(text)):
        if blocks := CODE.findall(body):
            code, printed = zip(*blocks)
            found.append((label, "\n".join(code), "".join(printed)))
    return found
