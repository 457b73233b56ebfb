"""`celeriac graph`: the boot steps of a worker as text or picture."""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli.output import note
from celeriac.cli.program import Program, pass_program

__all__ = ["graph"]


@click.command()
@click.argument("blueprint", type=click.Choice(["worker", "consumer"]))
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
def graph(program: Program, /, blueprint: str, form: str, output: Any, pool: str | None) -> None:
    """Draw what a worker of this app starts, in order, and why.

    `worker` is the whole process, `consumer` one connection to the broker. Nothing is started.
    """
    from celeriac.kernel.drawing import draw  # noqa: PLC0415  with networkx, which `--help` need not wait for
    from celeriac.runtime.worker import Worker  # noqa: PLC0415  as above

    with program.app as app:
        worker = Worker(app, pool=pool)
        chosen = worker.worker_graph if blueprint == "worker" else worker.consumer_graph
        output.write(draw(chosen, form, title=blueprint))
    if form == "text":
        note("Other forms: --format mermaid, dot or svg.")
