"""Node names: `celeriac@host`, with the placeholders Celery's users know."""

from __future__ import annotations

import socket

__all__ = ["expand_hostname"]


def expand_hostname(pattern: str | None) -> str:
    """Return a node name.

    `%h` is the full host name, `%n` the host without its domain, `%d` the domain, `%%` a percent sign. A name without
    `@` gets the host appended; None is `celeriac@%h`.
    """
    host = socket.gethostname()
    name, _, domain = host.partition(".")
    pattern = pattern or "celeriac@%h"
    if "@" not in pattern and "%h" not in pattern:
        pattern += "@%h"
    places = {"%h": host, "%n": name, "%d": domain, "%%": "%"}
    parts = pattern.split("%%")
    for placeholder in ("%h", "%n", "%d"):
        parts = [part.replace(placeholder, places[placeholder]) for part in parts]
    return "%".join(parts)
