"""Clean virtual environments, and what `nox -s install` has built to put into them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

UV = os.environ.get("UV") or shutil.which("uv")


@dataclass(frozen=True)
class Environment:
    """A virtual environment with nothing of the project in it."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> Environment:
        command = [UV, "venv", "-q", "--python", sys.executable] if UV else [sys.executable, "-m", "venv"]
        subprocess.run([*command, str(folder)], check=True, timeout=100)
        return cls(folder)

    @property
    def python(self) -> str:
        return str(self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))

    def install(self, *requirements: str, constraints: Path) -> None:
        """Install; what the project itself makes comes from `constraints` and from nowhere else."""
        installer = [UV, "pip", "install", "--python"] if UV else []
        command = [*installer, self.python] if UV else [self.python, "-m", "pip", "install"]
        self.run(*command, "-q", "-c", str(constraints), *requirements)

    def run(self, *command: str, cwd: Path | None = None) -> str:
        environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        answer = subprocess.run(
            command, cwd=cwd or self.folder, env=environment, capture_output=True, text=True, timeout=500, check=False
        )
        assert answer.returncode == 0, f"{' '.join(command)}\n{answer.stdout}\n{answer.stderr}"
        return answer.stdout


@dataclass(frozen=True)
class Built:
    """What was built: the folder, each wheel by the name of its distribution, and the tools that test them.

    `constraints` binds every distribution of the project to its wheel, so that no index is asked for one.
    """

    folder: Path
    wheels: dict[str, Path]
    constraints: Path
    tools: list[str]
