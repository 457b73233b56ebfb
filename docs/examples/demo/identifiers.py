"""The demo's app: one task, which counts the identifiers in a Python file."""

import keyword
import os
import tokenize
from collections import Counter
from pathlib import Path

from celeriac import Celeriac

HOME = Path(os.environ["CELERIAC_DEMO_HOME"])

app = Celeriac(
    "identifiers",
    broker=f"sqlite:///{HOME / 'demo.db'}",
    result_extended=True,
    # The demo kills a worker and wants to see its work taken over soon; the default of 30 s forgives longer pauses.
    broker_transport_options={"lease_seconds": 3.0},
)


@app.task(bind=True)
def count_identifiers(self, path: str) -> dict[str, int]:
    """Return the 200 commonest identifiers of a file and how often each stands in it."""
    # A line for each run, so that the demo can tell which tasks ran twice. O_APPEND makes one short write atomic.
    with open(HOME / "runs.log", "ab", buffering=0) as log:
        log.write(f"{self.request.id} {self.request.hostname}\n".encode())
    counts: Counter[str] = Counter()
    with open(path, "rb") as file:
        try:
            for token in tokenize.tokenize(file.readline):
                if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
                    counts[token.string] += 1
        except (tokenize.TokenError, SyntaxError):
            pass  # the library's own tests hold files that are broken on purpose: what was read so far counts
    return dict(counts.most_common(200))
