"""The type checkers agree with every `assert_type` of this folder."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(str(path) for path in HERE.glob("*.py") if path != Path(__file__))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_type_checker_finds_every_type_as_asserted(checker: str) -> None:
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed here: `nox -s types` installs it")
    # pyright looks for the packages beside the first python on the path.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    answer = subprocess.run(
        [sys.executable, "-m", checker, *FILES],
        cwd=HERE.parent.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )

    assert FILES
    assert answer.returncode == 0, answer.stdout + answer.stderr
