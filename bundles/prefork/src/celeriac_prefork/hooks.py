"""The option that this distribution adds to `celeriac worker`."""

from __future__ import annotations

import click

from celeriac.kernel.hooks import hookimpl

__all__ = ["celeriac_worker_options"]


@hookimpl
def celeriac_worker_options() -> list[click.Option]:
    """Add `--start-method`."""
    return [
        click.Option(
            ["--start-method"],
            type=click.Choice(["fork", "spawn"]),
            help="How children of the prefork pool start: forked (default), or as fresh processes that import the app.",
        )
    ]
