"""What this distribution adds to a worker: a step, two settings and an option."""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli.program import Program
from celeriac.config.setting import Bound, Setting, at_least
from celeriac.kernel.hooks import hookimpl
from celeriac.kernel.steps import Step
from celeriac_autoscale.bounds import EXPECTED, are_bounds
from celeriac_autoscale.step import AutoscaleStep

__all__ = ["celeriac_settings", "celeriac_steps", "celeriac_worker_options"]


@hookimpl
def celeriac_steps(app: Any, blueprint: str) -> list[type[Step]]:
    """Add the step, if there are bounds to keep."""
    return [AutoscaleStep] if blueprint == "worker" and app.conf.worker_autoscale is not None else []


@hookimpl
def celeriac_settings() -> list[Setting]:
    """Return what the step reads."""
    return [
        Setting(
            name="worker_autoscale",
            type=str | None,
            default=None,
            doc="The most and the fewest slots, as in '10,2'; None keeps the pool as large as it starts.",
            check=Bound(are_bounds, EXPECTED),
            pool_needs="resizes",
        ),
        Setting(
            name="worker_autoscale_idle_seconds",
            type=float,
            default=30.0,
            doc="Seconds that slots must have been idle before they are given up.",
            check=at_least(0, beyond=True),
        ),
    ]


@hookimpl
def celeriac_worker_options() -> list[click.Option]:
    """Return the option that is the setting for the time of this process."""
    return [
        click.Option(
            ["--autoscale"],
            metavar="MAX,MIN",
            help="Have so many slots as the work asks for, between these.",
            expose_value=False,
            callback=_override,
        )
    ]


def _override(context: click.Context, _: click.Parameter, value: str | None) -> None:
    program = context.find_object(Program)
    if value is None or program is None:
        return
    if not are_bounds(value):
        raise click.BadParameter(f"{value!r} is not {EXPECTED}.")
    program.app.conf.override({"worker_autoscale": value})
