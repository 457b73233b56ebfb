"""Run commands side by side, and show what each said once it has ended."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

__all__ = ["run"]

LOOK_SECONDS = 0.2


def run(commands: Mapping[str, Sequence[str]], logs: Path, *, cwd: Path, env: Mapping[str, str | None]) -> list[str]:
    """Run named commands, each with a log of its own in the folder `logs`; return the names of those that failed."""
    given = {name: value for name, value in env.items() if value is not None}
    failed: list[str] = []
    with ExitStack() as stack:
        running: dict[str, subprocess.Popen[bytes]] = {}
        for name, command in commands.items():
            log = stack.enter_context((logs / f"{name}.log").open("wb"))
            running[name] = subprocess.Popen(  # noqa: S603  the commands are the caller's own
                command, cwd=cwd, env=given, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
            # Whoever is interrupted leaves nothing running; a process that has ended takes no harm.
            stack.callback(running[name].wait)
            stack.callback(running[name].terminate)
        while running:
            for name in [name for name, process in running.items() if process.poll() is not None]:
                code = running.pop(name).returncode
                failed += [name] if code else []
                print(f"--- {name}: {'failed' if code else 'passed'}")
                print((logs / f"{name}.log").read_text(errors="replace"), flush=True)
            time.sleep(LOOK_SECONDS)
    return failed
