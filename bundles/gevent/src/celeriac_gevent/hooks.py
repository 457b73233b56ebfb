"""What this pool adds to a worker."""

from __future__ import annotations

from typing import Any

from celeriac.greenlets.steps import PacemakerStep
from celeriac.kernel.hooks import hookimpl

__all__ = ["celeriac_steps"]


@hookimpl
def celeriac_steps(blueprint: str) -> list[Any]:
    """Renew the lease while a task holds up everything else."""
    return [PacemakerStep] if blueprint == "consumer" else []
