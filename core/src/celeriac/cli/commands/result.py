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
@click.option("--tree", is_flag=True, help="Print the workflow that it is part of, as far as the store knows it.")
@click.option("--progress", is_flag=True, help="Show how much of a saved group has ended, until all has.")
@click.option("--traceback", is_flag=True, help="Print the traceback where the task raised.")
@AS_JSON
@pass_program
def result(
    program: Program,
    /,
    *,
    task_id: str,
    timeout: float | None,
    tree: bool,
    progress: bool,
    traceback: bool,
    as_json: bool,
) -> int:
    """Print what the task ID returned. ID may be that of a group that was saved.

    Ends with 0 when the task succeeded, 1 when it failed or was revoked, 75 when it has not ended yet.
    """
    with program.app as app:
        if app.connections.results_address is None:
            raise ConfigurationError(
                "Results are not kept by this app. Set `result_backend`, or pass --result-backend."
            )
        found = _found(app, task_id)
        if tree or progress or found.is_group:
            return _many(found, timeout, tree=tree, progress=progress, as_json=as_json)
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


def _found(app: Any, id_: str) -> Any:
    """Return the saved group of this id, else the result of the task."""
    from celeriac.client.groupresult import GroupResult  # noqa: PLC0415  with the client, which `--help` need not wait for

    return GroupResult.restore(id_, app) or app.AsyncResult(id_)


def _many(found: Any, timeout: float | None, *, tree: bool, progress: bool, as_json: bool) -> int:
    """Print a tree, a bar, or the values of a group."""
    from celeriac.cli.resulttree import as_data, first_of, print_tree, show_progress  # noqa: PLC0415  only here

    if progress:
        if not found.is_group:
            raise click.UsageError(f"{found.id} is not the id of a saved group. Save one: group(...)().save().")
        show_progress(found, timeout=timeout)
    elif timeout:
        _wait(found, timeout)
    if tree:
        print_json(as_data(first_of(found))) if as_json else print_tree(found)
    elif as_json:
        print_json(as_data(found))
    elif not progress:
        if found.ready():
            click.echo(json_text([_data(value) for value in found.get(propagate=False)]))
        else:
            click.echo(
                f"{click.style('PENDING', fg='yellow')}: {len(found._ready())} of {len(found._leaves)} have ended"
            )
    if not found.ready():
        return exits.NOT_YET
    return exits.OK if found.successful() else exits.FAILURE


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
