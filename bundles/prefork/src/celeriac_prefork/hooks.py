"""What this distribution adds to programs."""

from __future__ import annotations

__all__: list[str] = []
