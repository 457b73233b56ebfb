"""The program of a process that was spawned: `python -m celeriac_prefork.fresh`, started by `spawning` only."""

from __future__ import annotations

import os
import sys

from celeriac_prefork.spawning import main

__all__: list[str] = []

if __name__ == "__main__":
    _code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_code)
