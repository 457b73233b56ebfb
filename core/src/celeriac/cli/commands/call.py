"""`celeriac call`: send a task by its name."""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli.output import note, print_json
from celeriac.cli.parameters import AS_JSON, JsonValue, Moment, Seconds
from celeriac.cli.program import Program, pass_program
from celeriac.errors import nearest

__all__ = ["call"]


@click.command()
@click.argument("name")
@click.option("-a", "--args", type=JsonValue(list, "list"), default="[]", help="Positional arguments, a JSON list.")
@click.option("-k", "--kwargs", type=JsonValue(dict, "object"), default="{}", help="Keyword arguments, a JSON object.")
@click.option("--eta", type=Moment(), help="Run it at this moment, not before.")
@click.option("--countdown", type=Seconds, help="Run it in so many seconds, not before.")
@click.option("--expires", type=Moment(seconds=True), help="Do not run it after this moment, or so many seconds.")
@click.option("--serializer", help="How arguments are written.")
@click.option("--queue", help="The queue to put it on.")
@click.option("--exchange", help="The exchange to send it to.")
@click.option("--routing-key", help="The routing key.")
@click.option("--priority", type=click.IntRange(0, 255), help="Its priority, 0 the lowest.")
@click.option("--task-id", help="Its id, instead of a new one.")
@AS_JSON
@pass_program
def call(program: Program, /, name: str, args: list[Any], kwargs: dict[str, Any], as_json: bool, **given: Any) -> None:
    """Send the task NAME and print its id.

    The task need not be known here: its worker looks it up.
    """
    options = {option: value for option, value in given.items() if value is not None}
    if "eta" in options and "countdown" in options:
        raise click.UsageError("Give --eta or --countdown, not both.")
    with program.app as app:
        if program.app_path is not None and name not in app.tasks:
            note(f"No task {name!r} is registered in this app; sending it all the same.{nearest(name, app.tasks)}")
        sent = app.send_task(name, args, kwargs, **options)
    if as_json:
        print_json({"id": sent.id, "task": name})
    else:
        click.echo(sent.id)
