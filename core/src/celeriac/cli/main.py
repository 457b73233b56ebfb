"""The command `celeriac`: its options, its commands, and how errors end."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from celeriac.cli import exits
from celeriac.cli.group import LazyCommand, LazyGroup
from celeriac.cli.program import Program
from celeriac.errors import CeleriacError

__all__ = ["celeriac"]

_COMMANDS = {
    "call": LazyCommand("celeriac.cli.commands.call:call", "Send a task by its name."),
    "dead": LazyCommand("celeriac.cli.commands.dead:dead", "List, replay or discard dead and parked messages."),
    "graph": LazyCommand("celeriac.cli.commands.graph:graph", "Draw the boot steps of a worker."),
    "plugins": LazyCommand("celeriac.cli.commands.plugins:plugins", "List what is installed and what it can do."),
    "queues": LazyCommand("celeriac.cli.commands.queues:queues", "Count what waits, or purge it."),
    "report": LazyCommand("celeriac.cli.commands.report:report", "Print what a bug report needs."),
    "result": LazyCommand("celeriac.cli.commands.result:result", "Show the state and result of a task."),
    "settings": LazyCommand("celeriac.cli.commands.settings:settings", "Show settings and where they come from."),
    "shell": LazyCommand("celeriac.cli.commands.shell:shell", "Open a Python shell with the app."),
    "worker": LazyCommand("celeriac.cli.commands.worker:worker", "Run tasks."),
}

_ELSEWHERE = {
    "purge": "Use 'celeriac queues purge'.",
    "status": "It needs remote control, which is a plugin that is not installed.",
    "inspect": "It needs remote control, which is a plugin that is not installed.",
    "control": "It needs remote control, which is a plugin that is not installed.",
    "events": "Monitoring events are a plugin that is not installed.",
    "beat": "The periodic scheduler is a plugin that is not installed.",
    "multi": "Let a service manager, such as systemd, start as many 'celeriac worker' as you need.",
    "list": "Use 'celeriac queues'.",
    "amqp": "Use 'celeriac queues' and the tools of your broker.",
    "migrate": "Use 'celeriac shell'.",
    "logtool": "Start workers with --log-format json and use any tool for such logs.",
    "upgrade": "Start anything with the old settings: each old name is answered with the new one.",
}
"""Commands of Celery that have another name here, or come with a plugin."""

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Root(LazyGroup):
    """The group `celeriac`: adds the commands of plugins, and turns every error into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands of the core and of plugins."""
        return sorted({*super().list_commands(ctx), *_plugin_names()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command of the core, else of a plugin; each of its options can come from the environment."""
        command = super().get_command(ctx, cmd_name)
        if command is None and cmd_name in _plugin_names():
            command = _plugin_command(cmd_name)
        if command is not None:
            prefix = f"CELERIAC_{cmd_name.upper().replace('-', '_')}"
            command.context_settings = {"auto_envvar_prefix": prefix, **_CONTEXT, **command.context_settings}
        return command

    def main(  # type: ignore[override]  # it has no mode that returns: errors end here
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run, print what went wrong as one line, exit with the documented code."""
        extra.pop("standalone_mode", None)
        try:
            code = super().main(args, prog_name or "celeriac", standalone_mode=False, **extra)
        except click.UsageError as error:
            error.show()
            sys.exit(exits.USAGE)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            click.echo("Interrupted.", err=True)
            sys.exit(exits.INTERRUPTED)
        except BrokenPipeError:
            # Who read us has gone (`celeriac settings | head`); nothing is wrong, and nobody is left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(exits.OK)
        except Exception as error:  # noqa: BLE001  the last door: nobody is above who could handle it
            sys.exit(_report(error, sys.argv[1:] if args is None else args))
        sys.exit(code if isinstance(code, int) else exits.OK)


def _report(error: Exception, arguments: Sequence[str]) -> int:
    """Print an error as one line, or with its traceback where that was asked for; return its exit code."""
    if os.environ.get("CELERIAC_TRACEBACK") == "1" or "--traceback" in _before_command(arguments):
        import traceback  # noqa: PLC0415  10 ms that only this needs

        traceback.print_exception(error)
    known = isinstance(error, CeleriacError)
    text = str(error) if known else _unforeseen(error)
    click.echo(f"{click.style('Error:', fg='red')} {text}", err=True, color=_color())
    return exits.exit_code(error) if known else exits.SOFTWARE


def _unforeseen(error: Exception) -> str:
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{said}. Nobody foresaw this. See where it comes from with: celeriac --traceback …"


def _before_command(arguments: Sequence[str]) -> list[str]:
    """Return the arguments up to the first that is no option: `result --traceback` is another option."""
    found = []
    for argument in arguments:
        found.append(argument)
        if argument in _COMMANDS:
            break
    return found


def _color() -> bool | None:
    return False if os.environ.get("NO_COLOR") or os.environ.get("CELERIAC_NO_COLOR") else None


def _plugin_names() -> list[str]:
    from celeriac.kernel import plugins  # noqa: PLC0415  15 ms that only `--help` and unknown names need

    return plugins.names("command")


def _plugin_command(name: str) -> click.Command:
    from celeriac.kernel import plugins  # noqa: PLC0415  as above

    command = plugins.load("command", name)
    if not isinstance(command, click.Command):
        raise CeleriacError(f"The command {name!r} of a plugin is no click.Command but {command!r}.")
    return command


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version  # noqa: PLC0415  15 ms that only `--version` needs

        click.echo(f"celeriac {version('celeriac-core')}")
        ctx.exit()


@click.group(cls=Root, lazy=_COMMANDS, elsewhere=_ELSEWHERE, context_settings=_CONTEXT)
@click.option("-A", "--app", "app_path", envvar="CELERIAC_APP", metavar="MODULE[:NAME]", help="The app to use.")
@click.option("-b", "--broker", metavar="URL", help="URL of the broker.")
@click.option("--result-backend", metavar="URL", help="URL of the result store.")
@click.option("--config", envvar="CELERIAC_CONFIG_MODULE", metavar="MODULE", help="Module to read settings from.")
@click.option(
    "--workdir",
    envvar="CELERIAC_WORKDIR",
    type=click.Path(exists=True, file_okay=False),
    help="Directory to change to first.",
)
@click.option("-C", "--no-color", is_flag=True, help="Print without colours; NO_COLOR in the environment does too.")
@click.option("-q", "--quiet", is_flag=True, help="Print only what was asked for.")
@click.option("--traceback", is_flag=True, help="Show where an error comes from; so does CELERIAC_TRACEBACK=1.")
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Print it.")
@click.pass_context
def celeriac(ctx: click.Context, /, no_color: bool, traceback: bool, **options: Any) -> None:  # noqa: ARG001  see _report
    """Celeriac, a distributed task queue.

    Every setting can also be given in the environment as CELERIAC_<NAME>, and every option of a command as
    CELERIAC_<COMMAND>_<OPTION>.
    """
    ctx.color = False if no_color else _color()
    app = ctx.obj
    given, ctx.obj = ctx.obj, Program(**options)
    if given is not None:
        ctx.obj.app = given  # `app.worker_main` brings its own
    ctx.obj.enter()
    if app is not None:
        ctx.obj.use(app)
