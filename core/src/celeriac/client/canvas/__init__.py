"""Workflows: calls composed of calls.

`chain` runs one after the other, `group` side by side, `chord` a group and then, with all its results, a body. They
are signatures like any other: data that can be sent, stored, changed and composed further with `|`.
"""

from __future__ import annotations

from celeriac.client.canvas.mapping import chunks, xmap, xstarmap
from celeriac.client.canvas.workflows import chain, chord, group

__all__ = ["chain", "chord", "chunks", "group", "xmap", "xstarmap"]
