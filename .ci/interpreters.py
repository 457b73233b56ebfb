"""Find one CPython of each version that is asked for, also where pyenv's shims hide it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["find"]


def find(versions: Sequence[str]) -> dict[str, str]:
    """Return the path of an interpreter for each of these versions, such as "3.12", that runs here."""
    folders = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    folders.append(Path.home() / ".local/share/uv/python")
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    for version in versions:
        candidates = [shutil.which(f"python{version}")]
        candidates += [
            str(path) for folder in folders for path in sorted(folder.glob(f"*{version}.*/bin/python{version}"))
        ]
        for candidate in filter(None, candidates):
            if version not in found and _runs(candidate, version):
                found[version] = candidate
    return {version: found[version] for version in versions if version in found}


def _runs(python: str, version: str) -> bool:
    code = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603  found above
    return answer.stdout.split() == ["cpython", version]
