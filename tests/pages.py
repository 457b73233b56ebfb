"""The code on documentation pages: what there is, and a program that runs it.

The rules, for who writes a page; the comments stand on the line before a block and readers do not see them:

* All ```python blocks of a page are one program, run from top to bottom in an empty folder.
* `<!-- file: tasks.py -->`, or `# file: tasks.py` as the first line of the block: it is written to that file instead.
  A Python file that the page shows with `literalinclude` is copied into the folder.
* `<!-- not run: reason -->`: the block is left out.
* `<!-- run -->`: the commands of a ```console block, the lines that begin with `$ `, are run; without it they are not.
  Other lines are output that must be there, unless they hold `...`. One that ends with `&` goes on until the page
  ends. `pip install` is left out: what is installed is what is tested.
* `<!-- run in the background -->`: the same, and the command goes on until the page ends.

`python pages.py PAGE` runs one page in the current folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FENCE = re.compile(
    r"(?m)^(?:[ ]*<!-- (?P<order>run|run in the background|file: \S+|not run: [^\n]+) -->\n)?"
    r"(?P<indent>[ ]*)```(?P<language>python|console|\{literalinclude\} (?P<included>\S+\.py))\n"
    r"(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One block: what to do with it, its text, and the line its text begins on.

    `action` is "python", "write" (to `file`), "copy" (from `file`), "shell" or "background".
    """

    action: str
    text: str
    line: int
    file: str = ""


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page that are to be carried out, in order."""
    found = []
    for match in FENCE.finditer(text):
        order = match["order"] or ""
        code, line = textwrap.dedent(match["code"]), text[: match.start("code")].count("\n") + 1
        if match["included"]:
            found.append(Block("copy", "", line, match["included"]))
        elif match["language"] == "console" and order.startswith("run"):
            found.append(Block("background" if order.endswith("background") else "shell", code, line))
        elif match["language"] == "python" and (file := re.search(r"file: (\S+)", order or code.partition("\n")[0])):
            found.append(Block("write", code, line, file[1]))
        elif match["language"] == "python" and not order.startswith("not run"):
            found.append(Block("python", code, line))
    return found


def run_page(page: Path) -> None:
    """Carry out a page's blocks in the current folder."""
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(page)}
    background: list[subprocess.Popen[bytes]] = []
    sys.path.insert(0, os.getcwd())
    try:
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.action == "write":
                Path(block.file).parent.mkdir(parents=True, exist_ok=True)
                Path(block.file).write_text(block.text)
            elif block.action == "copy":
                shutil.copy(page.parent / block.file, Path(block.file).name)
            elif block.action == "python":
                # Empty lines in front make tracebacks name the line of the page.
                exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
            else:
                _shell(block, page, background)
    finally:
        for process in background:
            process.terminate()
        for process in background:
            process.wait(20)


def _shell(block: Block, page: Path, background: list[subprocess.Popen[bytes]]) -> None:
    for part in re.split(r"(?m)^\$ ", block.text)[1:]:
        command, _, expected = part.partition("\n")
        if command.startswith("pip install"):
            continue
        if block.action == "background" or command.endswith("&"):
            background.append(subprocess.Popen(["bash", "-c", f"exec {command.rstrip('& ')}"]))
            continue
        answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
        output = answer.stdout + answer.stderr
        missing = [line for line in expected.splitlines() if "..." not in line and line.strip() not in output]
        if answer.returncode or missing:
            raise SystemExit(f"{page}:{block.line} $ {command}\n{output}\nexit {answer.returncode}, missing: {missing}")


if __name__ == "__main__":
    run_page(Path(sys.argv[1]))
