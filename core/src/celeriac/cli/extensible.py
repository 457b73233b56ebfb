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

    An option of an installed plugin that is not active activates it, by an entry point of the group `celeriac.options`.
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
        named = program is not None and program.app_path is not None
        asked = _asked(args, for_help=named)
        if not named and not asked:
            return
        try:
            ctx.meta[_OPTIONS] = self._added(program or Program(), args, asked)
        except CeleriacError as error:
            # The command itself meets it again, and says so; `--help` must work all the same.
            ctx.meta[_ERROR] = error

    def _added(self, program: Program, args: list[str], asked: list[str]) -> list[click.Parameter]:
        from celeriac.kernel.hooks import activate  # noqa: PLC0415  with pluggy, where an app was named only

        app = program.app
        if asked and "--help" not in args:
            app.conf.override({"plugins": (*dict.fromkeys([*app.conf.plugins, *asked]),)}, "the options")
            # Other plugins may have been asked for their settings before; those of these are then not known yet.
            settings = activate((), asked).settings()
            app.conf.declare([setting for setting in settings if setting.name not in app.conf])
        pool = pool_name(["worker", *args]) or app.conf.worker_pool
        chosen = [*app.connections.chosen_plugins(), *([("pool", pool)] if pool else [])]
        hooks = activate(chosen, [*app.conf.plugins, *asked])
        return [*sorted(app.user_options[self.name or ""], key=lambda option: option.name), *hooks.worker_options()]


def _asked(args: list[str], *, for_help: bool) -> list[str]:
    """Return the names of the hooks that the options among the arguments activate; `for_help` of all that could be."""
    given = {arg.partition("=")[0] for arg in args if arg.startswith("-")}
    every = "--help" in given
    if not given or (every and not for_help):
        return []
    from celeriac.kernel import plugins  # noqa: PLC0415  entry points, which most commands need not read

    options = plugins.installed("option")
    owners = {
        option.distribution
        for option in options
        if every or ("-" if len(option.name) == 1 else "--") + option.name in given
    }
    return [hooks.name for hooks in plugins.installed("hooks") if hooks.distribution in owners]
