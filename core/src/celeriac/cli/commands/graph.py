"""`celeriac graph`: the boot steps of a worker, or a workflow, as text or picture."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from celeriac.cli.output import note
from celeriac.cli.program import Program, importing, pass_program

__all__ = ["graph"]


@click.command()
@click.argument("what", type=click.Choice(["worker", "consumer", "canvas"]))
@click.argument("signature", metavar="[MODULE:SIGNATURE]", required=False)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "mermaid", "dot", "svg"]),
    default="text",
    show_default=True,
    help="svg needs Graphviz.",
)
@click.option("-o", "--output", type=click.File("w", lazy=True), default="-", help="File to write; - is the terminal.")
@click.option("-P", "--pool", help="The pool of the worker.")
@pass_program
def graph(program: Program, /, *, what: str, signature: str | None, form: str, output: Any, pool: str | None) -> None:
    """Draw what a worker of this app starts, in order, and why; or a workflow.

    `worker` is the whole process, `consumer` one connection to the broker. `canvas` is the workflow that
    MODULE:SIGNATURE names, or that the function of this name returns. Nothing is started or sent.
    """
    if (what == "canvas") != (signature is not None):
        raise click.UsageError("Name a workflow with `canvas`, and only there: celeriac graph canvas module:signature")
    if signature is not None:
        output.write(_canvas(program, signature, form))
        return
    from celeriac.kernel.drawing import draw  # noqa: PLC0415  with networkx, which `--help` need not wait for
    from celeriac.runtime.worker import Worker  # noqa: PLC0415  as above

    with program.app as app:
        worker = Worker(app, pool=pool)
        chosen = worker.worker_graph if what == "worker" else worker.consumer_graph
        output.write(draw(chosen, form, title=what))
    if form == "text":
        note("Other forms: --format mermaid, dot or svg.")


def _canvas(program: Program, path: str, form: str) -> str:
    from celeriac.client.canvas.drawing import draw  # noqa: PLC0415  with the client, which `--help` need not wait for
    from celeriac.kernel.drawing import svg_of  # noqa: PLC0415  as above
    from celeriac.model.signature import signature  # noqa: PLC0415  as above

    with program.app:
        found = importing(path, _named, path)
        found = found() if callable(found) and not isinstance(found, Mapping) else found
        if not isinstance(found, Mapping):
            raise click.UsageError(
                f"{path} is {found!r}, and no signature: chain(...), group(...), chord(...), task.s()."
            )
        drawn = draw(signature(found), "dot" if form == "svg" else form)
        return svg_of(drawn) if form == "svg" else drawn


def _named(path: str) -> Any:
    module, colon, name = path.partition(":")
    if not colon:
        raise click.UsageError(f"{path}: name a signature as module:signature.")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        if not hasattr(found, part):
            raise click.UsageError(f"{path}: {module} has no {name!r}.")
        found = getattr(found, part)
    return found
