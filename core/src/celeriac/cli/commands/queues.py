"""`celeriac queues`: how many messages wait, and purging them."""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli import exits
from celeriac.cli.output import ago, columns, confirm, note, print_json
from celeriac.cli.parameters import AS_JSON, NameList
from celeriac.cli.program import Program, pass_program, transport_with

__all__ = ["queues"]


@click.group(invoke_without_command=True)
@click.option("-Q", "--queues", "names", type=NameList(), help="Only these queues.")
@AS_JSON
@click.pass_context
def queues(ctx: click.Context, /, names: tuple[str, ...] | None, as_json: bool) -> None:
    """Count the messages of each queue.

    Delayed messages wait for their moment; held ones are in the hands of a worker. A dash: the broker does not tell.
    """
    if ctx.invoked_subcommand is None:
        _show(ctx.find_object(Program) or Program(), names, as_json)
    elif names is not None or as_json:
        raise click.UsageError(f"Give options of {ctx.invoked_subcommand} behind its name.")


def _show(program: Program, names: tuple[str, ...] | None, as_json: bool) -> None:
    with transport_with(program, "inspects", "counting messages") as transport:
        depths = transport.depths(names, timeout=program.app.conf.broker_timeout_seconds)
        seen = transport.capabilities.sees_delayed
    depths = sorted(depths, key=lambda depth: depth.queue)
    if as_json:
        print_json(depths)
        return
    rows = [
        (each.queue, each.waiting, *((each.delayed, each.held) if seen else (None, None)), ago(each.oldest_seconds))
        for each in depths
    ]
    columns(rows, ["Queue", "Waiting", "Delayed", "Held", "Oldest"], right=(1, 2, 3, 4), empty="No queue has messages.")


@queues.command()
@click.argument("names", metavar="[QUEUE]...", nargs=-1)
@click.option("-X", "--exclude-queues", type=NameList(), default=(), help="All but these.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@AS_JSON
@pass_program
def purge(
    program: Program, /, names: tuple[str, ...], exclude_queues: tuple[str, ...], force: bool, as_json: bool
) -> int:
    """Delete every message that waits or is delayed: it cannot be undone.

    Without QUEUE, of all queues a worker of this app would consume. What a worker holds is not touched.
    """
    with transport_with(program, "inspects", "purging") as transport:
        app = program.app
        chosen = names or tuple(queue.name for queue in app.router.queues_to_consume(None, exclude_queues))
        timeout = app.conf.broker_timeout_seconds
        if not force:
            waiting = sum(each.waiting + each.delayed for each in transport.depths(chosen, timeout=timeout))
            listed = ", ".join(chosen)
            confirm(f"Delete {waiting} messages of {listed} at {transport.address}?")
        if not transport.capabilities.sees_delayed:
            note("What is delayed stays: this broker keeps it apart from the queues.")
        purged: dict[str, Any] = {name: transport.purge(name, timeout=timeout) for name in chosen}
    if as_json:
        print_json(purged)
    else:
        columns(purged.items(), ["Queue", "Deleted"], right=(1,))
        note(f"{sum(purged.values())} messages deleted.")
    return exits.OK
