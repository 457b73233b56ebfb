"""The task runner finds everything by folders, and what CI prints last is true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tree import ROOT, noxfile, repository

COMMANDS = ROOT / "docs" / "how-to" / "work-on-celeriac.md"


def test_the_task_runner_finds_every_distribution() -> None:
    found = noxfile()

    assert {path.name for path in found["DISTRIBUTIONS"][1:]} == {
        distribution.folder.name for distribution in repository().with_code
    }
    assert {ROOT / source for source in found["SOURCES"]} == {
        distribution.folder / "src" for distribution in repository().with_code
    }


def test_every_session_is_described() -> None:
    functions = [
        node for node in ast.parse((ROOT / "noxfile.py").read_text()).body if isinstance(node, ast.FunctionDef)
    ]
    sessions = {node.name for node in functions if any("session" in ast.unparse(each) for each in node.decorator_list)}

    assert sessions == set(re.findall(r"`nox -s (\w+)", COMMANDS.read_text()))


REPORT = '<testsuites><testsuite name="pytest" tests="{tests}" failures="1" errors="1" skipped="2"/></testsuites>'


@pytest.mark.parametrize(
    ("numbers", "last_line", "code"),
    [([10, 8], "10 passed, 4 failed, 4 skipped", 0), ([4], "0 passed, 2 failed, 2 skipped", 1), ([], "0 passed", 1)],
)
def test_the_reports_are_added_up(tmp_path: Path, numbers: list[int], last_line: str, code: int) -> None:
    for number, tests in enumerate(numbers):
        (tmp_path / f"{number}.xml").write_text(REPORT.format(tests=tests))

    answer = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "counts.py"), str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert answer.stdout.splitlines()[-1].startswith(last_line)
    assert answer.returncode == code
