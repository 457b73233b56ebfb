"""`celeriac result`: the state and result of a task."""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli import exits
from celeriac.cli.output import as_json as json_text
from celeriac.cli.output import print_json
from celeriac.cli.parameters import AS_JSON, Seconds
from celeriac.cli.program import Program, pass_program
from celeriac.errors import ConfigurationError
from celeriac.errors import TimeoutError as ResultTimeout

__all__ = ["result"]


@click.command()
@click.argument("task_id", metavar="ID")
@click.option("-t", "--timeout", type=Seconds, help="Wait up to so many seconds for it; without, do not wait.")
@click.option("--traceback", is_flag=True, help="Print the traceback where the task raised.")
@AS_JSON
@pass_program
def result(program: Program, /, task_id: str, timeout: float | None, traceback: bool, as_json: bool) -> int:
    """Print what the task ID returned.

    Ends with 0 when the task succeeded, 1 when it failed or was revoked, 75 when it has not ended yet.
    """
    with program.app as app:
        if app.connections.results_address is None:
            raise ConfigurationError(
                "Results are not kept by this app. Set `result_backend`, or pass --result-backend."
            )
        found = app.AsyncResult(task_id)
        if timeout:
            _wait(found, timeout)
        state, value = found.state, found.result
        raised = found.traceback
    if as_json:
        document = {"id": task_id, "state": state, "result": _data(value), "traceback": raised}
        print_json({**document, "date_done": found.date_done if found.ready() else None})
    else:
        _print(state, value, raised if traceback else None)
    if state == "SUCCESS":
        return exits.OK
    return exits.FAILURE if state in ("FAILURE", "REVOKED") else exits.NOT_YET


def _wait(found: Any, timeout: float) -> None:
    try:
        found.get(timeout=timeout, propagate=False)
    except ResultTimeout:
        return  # the state tells


def _data(value: Any) -> Any:
    """Return an exception as data; anything else as it is."""
    if isinstance(value, BaseException):
        return {"type": type(value).__name__, "message": str(value)}
    return value


def _print(state: str, value: Any, traceback: str | None) -> None:
    if state == "SUCCESS":
        click.echo(value if isinstance(value, str) else json_text(value))
        return
    said = f": {type(value).__name__}: {value}" if isinstance(value, BaseException) else ""
    color = "red" if state in ("FAILURE", "REVOKED") else "yellow"
    unknown = " (it waits, or no task of this id is known)" if state == "PENDING" else ""
    click.echo(f"{click.style(state, fg=color)}{said}{unknown}")
    if traceback:
        click.echo(traceback.rstrip())
