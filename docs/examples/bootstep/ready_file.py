"""A boot step of our own: a file that exists while the worker takes tasks, for a readiness probe to look at."""

import os
from pathlib import Path

from celeriac.kernel.steps import Boot, Key, Step
from celeriac.runtime.keys import CONSUMER, WORKER

READY_FILE: Key[Path] = Key("ready-file")


class ReadyFile(Step):
    """Write the file when the worker begins to take tasks; remove it before the worker stops taking them."""

    name = "ready-file"
    needs = (WORKER, CONSUMER)
    provides = (READY_FILE,)

    def start(self, boot: Boot) -> None:
        path = Path(os.environ.get("READY_FILE", "worker.ready"))
        path.write_text(boot.get(WORKER).hostname)
        boot.defer(lambda: path.unlink(missing_ok=True))
        boot.provide(READY_FILE, path)
