"""The tutorial, in a clean folder, with a real worker: everything it shows is run, and comes out as shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pages
import pytest
from tree import ROOT

TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("[!i]*.md"))
TUTORIAL = ROOT / "docs" / "tutorials" / "first-steps.md"


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_every_block_of_a_tutorial_is_carried_out_but_the_installation(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"(?m)^```(?:python|console)\n((?:.|\n)*?)^```$", text)

    carried_out = {block.text for block in pages.blocks(text)}

    assert [fence for fence in fences if fence not in carried_out] == ["$ pip install celeriac\n"]


@pytest.mark.timeout(120)
def test_the_tutorial_runs_in_an_empty_folder_on_a_worker_process(tmp_path: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("CELERIAC_", "PYTHONPATH"))
    }  # fmt: skip
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"

    result = subprocess.run(
        [sys.executable, str(Path(pages.__file__)), str(TUTORIAL)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    # The page fails by itself where a command prints something else than it shows.
    assert result.returncode == 0, result.stdout + result.stderr
    # What is left of the output is the worker's: it ran every task, and it stopped when it was told to.
    for name in ("add", "greet"):
        assert re.search(rf"task shop\.{name}\[[\w-]+\] succeeded", result.stderr)
    assert len(re.findall(r"task shop\.fetch\[[\w-]+\] retries", result.stderr)) == 3
    assert len(re.findall(r"task shop\.fetch\[[\w-]+\] failed", result.stderr)) == 1
    assert "warm shutdown (SIGTERM)" in result.stderr
    assert (tmp_path / ".celeriac" / "celeriac.db").exists()
