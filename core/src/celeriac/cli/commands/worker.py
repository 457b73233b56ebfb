"""`celeriac worker`: run tasks."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import click

from celeriac.cli.extensible import ExtensibleCommand
from celeriac.cli.output import note
from celeriac.cli.parameters import LOG_FORMATS, LOG_LEVELS, NameList, Seconds
from celeriac.cli.pidfile import pidfile
from celeriac.cli.program import Program, importing, pass_program

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.runtime.worker import Worker

__all__ = ["worker"]

logger: logging.Logger = logging.getLogger(__name__)

_EVENTS = "Monitoring events are a plugin that is not active: install it and add its name to the setting `plugins`."
_BEAT = "The periodic scheduler is a plugin that is not active: install it and add its name to the setting `plugins`."
_MANAGER = "A worker stays in the foreground. Have systemd, supervisord or a container start it in the background."

_ELSEWHERE = {
    "-B": _BEAT,
    "--beat": _BEAT,
    "-s": _BEAT,
    "--schedule": _BEAT,
    "--schedule-filename": _BEAT,
    "--scheduler": _BEAT,
    "-E": _EVENTS,
    "--events": _EVENTS,
    "--task-events": _EVENTS,
    "--heartbeat-interval": _EVENTS,
    "--autoscale": "Install celeriac-autoscale, or give the number of slots with -c.",
    "-D": _MANAGER,
    "--detach": _MANAGER,
    "--uid": _MANAGER,
    "--gid": _MANAGER,
    "--umask": _MANAGER,
    "--executable": _MANAGER,
    "-S": "Nothing to name: revoked tasks are remembered by the coordinator.",
    "--statedb": "Nothing to name: revoked tasks are remembered by the coordinator.",
    "--disable-prefetch": "Use --prefetch-multiplier 1; a delayed task never takes a slot.",
}
"""Options of Celery's worker that come with a plugin, or have no counterpart."""

_NEEDLESS = ("--without-gossip", "--without-mingle", "--without-heartbeat")

_AS_SETTINGS = {
    "pool": "worker_pool",
    "concurrency": "worker_concurrency",
    "prefetch_multiplier": "worker_prefetch_multiplier",
    "max_tasks_per_child": "worker_max_tasks_per_child",
    "max_memory_per_child": "worker_max_memory_per_child",
    "time_limit": "task_time_limit",
    "soft_time_limit": "task_soft_time_limit",
}
"""Options that are settings for the time of this process."""


@click.command(cls=ExtensibleCommand, elsewhere=_ELSEWHERE, needless=_NEEDLESS)
@click.option("-n", "--hostname", metavar="NAME", help="Node name; %h is the host. Default: celeriac@%h.")
@click.option("-P", "--pool", metavar="NAME", help="Where tasks run; `celeriac plugins pool` lists them.")
@click.option("-c", "--concurrency", type=click.IntRange(1), help="How many tasks run at the same time.")
@click.option("-Q", "--queues", type=NameList(), help="Take tasks from these queues only.")
@click.option("-X", "--exclude-queues", type=NameList(), default=(), help="From all but these.")
@click.option("-I", "--include", type=NameList(), default=(), help="More modules of tasks to import.")
@click.option(
    "--prefetch-multiplier", type=click.IntRange(0), help="Messages taken per slot; without, it tunes itself."
)
@click.option("--purge", "--discard", is_flag=True, help="First delete every message that waits on its queues.")
@click.option("--time-limit", type=Seconds, help="End a task by force after so many seconds.")
@click.option("--soft-time-limit", type=Seconds, help="Raise SoftTimeLimitExceeded in a task after so many seconds.")
@click.option("--max-tasks-per-child", type=click.IntRange(1), help="Replace a child of the pool after so many tasks.")
@click.option("--max-memory-per-child", type=click.IntRange(1), help="Replace it when it is larger than so many KiB.")
@click.option("-O", "--optimization", type=click.Choice(["default", "fair"]), help="Changes nothing: always fair.")
@click.option(
    "-l", "--loglevel", type=click.Choice(LOG_LEVELS, case_sensitive=False), default="INFO", show_default=True
)
@click.option("-f", "--logfile", metavar="PATH", help="Log to this file; %n is the node name, %h the host.")
@click.option("--log-format", type=click.Choice(LOG_FORMATS), help="How to log; without, in colours on a terminal.")
@click.option("--pidfile", "pid_path", metavar="PATH", help="File to write the process number to; %n, %h as above.")
@click.argument("overrides", metavar="[SETTING=VALUE]...", nargs=-1)
@pass_program
def worker(
    program: Program,
    /,
    *,
    hostname: str | None,
    overrides: tuple[str, ...],
    pid_path: str | None,
    logfile: str | None,
    loglevel: str,
    log_format: str | None,
    optimization: str | None,
    **options: Any,
) -> int:
    """Run tasks until told to stop.

    TERM or Ctrl-C: finish what runs, then end. QUIT, or Ctrl-C again: end now; what runs goes back to its queue.
    """
    from celeriac.cli.environment import misspelt  # noqa: PLC0415  half of the time that `--help` would take
    from celeriac.cli.logs import log_for_good, logging_to  # noqa: PLC0415  as above
    from celeriac.runtime.hostname import expand_hostname  # noqa: PLC0415  as above

    if optimization is not None:
        note(f"-O {optimization} changes nothing: no task ever waits behind a running one while a slot is free.")
    with program.app as app:
        _configure(app, options, overrides)
        node = expand_hostname(hostname)
        terminal = sys.stderr  # before what is printed goes to the log
        context = click.get_current_context()
        path = _for_node(logfile, node)
        log: dict[str, Any] = {
            "level": loglevel.upper(),
            "form": log_format,
            "logfile": None if path is None else os.path.abspath(path),
            "color": context.color,
        }
        with pidfile(_for_node(pid_path, node)), logging_to(app.conf, **log):
            options["set_up_log"] = partial(log_for_good, **log)
            made = importing("The modules of tasks", _make, program, app, node, options)
            for sentence in misspelt(os.environ, app.conf, cast(click.Group, context.find_root().command)):
                logger.warning("%s", sentence, extra={"event": "variable_unread"})
            if log_format != "json":
                note(_banner(made), file=terminal)
            return made.run(handle_signals=True)


def _configure(app: Celeriac, options: dict[str, Any], overrides: tuple[str, ...]) -> None:
    """Put the options that are settings, and the settings given as arguments, above every other source."""
    given = {setting: options.pop(option) for option, setting in _AS_SETTINGS.items()}
    values = {name: value for name, value in given.items() if value is not None}
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals:
            raise click.UsageError(f"{override!r} is no setting=value.")
        values[name] = value
    if include := options.pop("include"):
        values["include"] = (*app.conf.include, *include)
    app.conf.override(values)


def _make(program: Program, app: Celeriac, node: str, options: dict[str, Any]) -> Worker:
    from celeriac.runtime.worker import Worker  # noqa: PLC0415  plugin discovery, which `--help` need not wait for

    if program.app_path is None and not (app.conf.include or app.conf.imports):
        raise click.UsageError("This worker would know no task. Name an app: celeriac -A module worker.")
    return Worker(
        app,
        hostname=node,
        app_path=program.import_path,
        queues=options.pop("queues"),
        exclude_queues=options.pop("exclude_queues"),
        purge=options.pop("purge"),
        set_up_log=options.pop("set_up_log"),
        options=options,
    )


def _banner(made: Worker) -> str:
    app = made.app
    return (
        f"{made.hostname}: app {app.main or '-'}, {len(app.tasks)} tasks\n"
        f"  broker   {app.connections.broker_address}\n"
        f"  results  {app.connections.results_address or 'disabled'}\n"
        f"  pool     {made.pool_name}, {made.concurrency} slots\n"
        f"  queues   {', '.join(queue.name for queue in made.queues)}"
    )


def _for_node(path: str | None, node: str) -> str | None:
    """Fill in a path as Celery does: %n the node name, %h its host, %p both, %i and %I of the main process."""
    if path is None:
        return None
    name, _, host = node.partition("@")
    parts = path.split("%%")
    for mark, text in (("%n", name), ("%h", host), ("%p", node), ("%i", "0"), ("%I", "")):
        parts = [part.replace(mark, text) for part in parts]
    return "%".join(parts)
