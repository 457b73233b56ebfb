"""A command to which plugins and the app add options, and which explains those that it does not have."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import click

from celeriac.cli.early import pool_name
from celeriac.cli.output import note
from celeriac.cli.program import Program
from celeriac.errors import CeleriacError

__all__ = ["ExtensibleCommand"]

_OPTIONS = "celeriac.options"
_ERROR = "celeriac.options_error"


class ExtensibleCommand(click.Command):
    """A command with the options of `app.user_options[<command>]` and of the active plugins.

    The app is imported for them, even for `--help`, where one was named; without an app there are none.

    Args:
        elsewhere: What to say about options that are none here, such as those of Celery.
        needless: Flags that switch off what is not there: taken, with a note, unless a plugin declares them.
    """

    def __init__(
        self,
        *args: Any,
        elsewhere: Mapping[str, str] | None = None,
        needless: Collection[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._needless = frozenset(needless)
        self._elsewhere = dict(elsewhere or {})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments, knowing every added option."""
        self._add(ctx, args)
        declared = {flag for param in self.get_params(ctx) for flag in param.opts}
        dropped = [arg for arg in args if arg in self._needless - declared]
        if dropped:
            note(f"{', '.join(dropped)}: nothing to switch off, that plugin is not active.")
        try:
            return super().parse_args(ctx, [arg for arg in args if arg not in dropped])
        except click.NoSuchOption as error:
            if _ERROR in ctx.meta:
                raise ctx.meta[_ERROR] from error
            advice = self._elsewhere.get(error.option_name)
            if advice is None:
                raise
            raise click.UsageError(f"No such option: {error.option_name}. {advice}", ctx) from error

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters and the added ones."""
        *own, help_option = super().get_params(ctx)
        return [*own, *ctx.meta.get(_OPTIONS, ()), help_option]

    def _add(self, ctx: click.Context, args: list[str]) -> None:
        program = ctx.find_object(Program)
        if program is None or program.app_path is None:
            return
        try:
            ctx.meta[_OPTIONS] = self._added(program, args)
        except CeleriacError as error:
            # The command itself meets it again, and says so; `--help` must work all the same.
            ctx.meta[_ERROR] = error

    def _added(self, program: Program, args: list[str]) -> list[click.Parameter]:
        from celeriac.kernel.hooks import activate  # noqa: PLC0415  with pluggy, where an app was named only

        app = program.app
        pool = pool_name(["worker", *args]) or app.conf.worker_pool
        chosen = [*app.connections.chosen_plugins(), *([("pool", pool)] if pool else [])]
        hooks = activate(chosen, app.conf.plugins)
        return [*sorted(app.user_options[self.name or ""], key=lambda option: option.name), *hooks.worker_options()]
