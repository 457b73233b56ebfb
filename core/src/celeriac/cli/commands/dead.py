"""`celeriac dead`: messages that were put aside, because they failed for good or nobody here knows their task."""

from __future__ import annotations

import base64
import functools
import sys
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from celeriac.cli import exits
from celeriac.cli.output import ago, columns, confirm, moment, note, print_json
from celeriac.cli.parameters import AS_JSON
from celeriac.cli.program import Program, pass_program, transport_with
from celeriac.errors import nearest

if TYPE_CHECKING:
    from celeriac.spi.transport import Letter

__all__ = ["dead"]

_BATCH = 500
_NEEDS = "letters"
_WHAT = "keeping dead messages"


@click.group(invoke_without_command=True)
@click.pass_context
def dead(ctx: click.Context, /) -> Any:
    """List, replay or discard messages that were put aside.

    Dead ones were delivered too often, rejected, or cannot be read; parked ones (--parked) name a task that no worker
    knew.
    """
    if ctx.invoked_subcommand is None:
        return ctx.invoke(list_)
    return None


class Selection(NamedTuple):
    """Which letters are meant."""

    parked: bool = False
    queue: str | None = None
    task: str | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether a letter is one of them; its kind was asked for already."""
        return self.queue in (None, letter.queue) and self.task in (None, _task(letter))


def _selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose letters, and pass them on as one `Selection`."""

    @functools.wraps(command)
    def with_selection(*args: Any, parked: bool, queue: str | None, task: str | None, **kwargs: Any) -> Any:
        return command(*args, selection=Selection(parked=parked, queue=queue, task=task), **kwargs)

    decorated: Callable[..., Any] = with_selection
    for option in (
        click.option("--parked", is_flag=True, help="Parked messages, not dead ones."),
        click.option("-Q", "--queue", help="Only of this queue."),
        click.option("-t", "--task", help="Only of this task."),
    ):
        decorated = option(decorated)
    return decorated


@dead.command("list")
@_selecting
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many to show.")
@AS_JSON
@pass_program
def list_(program: Program, /, selection: Selection, limit: int, as_json: bool) -> None:
    """List them, oldest first."""
    with transport_with(program, _NEEDS, _WHAT) as transport:
        found = list(islice(_letters(program, transport, selection), limit + 1))
        now = transport.clock.time()
    shown, more = found[:limit], len(found) > limit
    if as_json:
        print_json([_summary(letter) for letter in shown])
        return
    rows = [
        (each.id, _task(each), each.queue, each.deliveries, ago(max(0.0, now - each.moment)), each.reason)
        for each in shown
    ]
    kind = "parked" if selection.parked else "dead"
    columns(rows, ["ID", "Task", "Queue", "Taken", "Age", "Reason"], right=(3, 4), empty=f"No {kind} messages.")
    if more:
        note(f"There are more; show them with --limit {limit * 10}.")


@dead.command()
@click.argument("letter_id", metavar="ID")
@AS_JSON
@pass_program
def show(program: Program, /, letter_id: str, as_json: bool) -> int:
    """Show one message, dead or parked, with its headers and body."""
    with transport_with(program, _NEEDS, _WHAT) as transport:
        letters = {each.id: each for each in _of_all_kinds(program, transport)}
    letter = letters.get(letter_id)
    if letter is None:
        raise _unknown(letter_id, letters)
    if as_json:
        print_json({**_summary(letter), "message": _message(letter)})
        return exits.OK
    message = letter.message
    rows: list[tuple[str, Any]] = [
        ("kind", letter.kind),
        ("reason", letter.reason),
        ("queue", letter.queue),
        ("since", moment(letter.moment)),
        ("deliveries", letter.deliveries),
        ("content", f"{message.content_type}, {message.content_encoding}, {len(message.body)} bytes"),
        *message.headers.items(),
        ("body", _text(message.body)),
    ]
    columns(rows, ["Field", "Value"])
    return exits.OK


@dead.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that the options choose.")
@_selecting
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@AS_JSON
@pass_program
def replay(program: Program, /, **options: Any) -> int:
    """Put messages back on their queues, as if they had never been delivered."""
    return _apply(program, "replay", "replayed", **options)


@dead.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that the options choose.")
@_selecting
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@AS_JSON
@pass_program
def discard(program: Program, /, **options: Any) -> int:
    """Delete messages: it cannot be undone."""
    return _apply(program, "discard", "discarded", **options)


def _apply(
    program: Program,
    verb: str,
    done: str,
    *,
    ids: tuple[str, ...],
    everything: bool,
    selection: Selection,
    force: bool,
    as_json: bool,
) -> int:
    chosen = everything or selection != Selection()
    if bool(ids) == chosen:
        raise click.UsageError("Name messages by their IDs, or choose them with --all, --parked, --queue or --task.")
    with transport_with(program, _NEEDS, _WHAT) as transport:
        if ids:
            _check(ids, [each.id for each in _of_all_kinds(program, transport)])
        else:
            ids = tuple(each.id for each in _letters(program, transport, selection))
        if not force and not (verb == "replay" and len(ids) == 1):
            confirm(f"{verb.capitalize()} {len(ids)} messages at {transport.address}?")
        count = _in_batches(getattr(transport, verb), ids, program.app.conf.broker_timeout_seconds, verb)
    if as_json:
        print_json({done: count})
    else:
        click.echo(f"{count} messages {done}.")
    return exits.OK if count == len(ids) else exits.FAILURE


def _in_batches(act: Callable[..., int], ids: tuple[str, ...], timeout: float, verb: str) -> int:
    """Carry it out, with a progress bar where it takes more than one round trip."""
    batches = [ids[at : at + _BATCH] for at in range(0, len(ids), _BATCH)]
    if len(batches) == 1:
        return act(ids, timeout=timeout)
    with click.progressbar(batches, label=verb.capitalize(), file=sys.stderr) as bar:
        return sum(act(batch, timeout=timeout) for batch in bar)


def _letters(program: Program, transport: Any, selection: Selection) -> Iterator[Letter]:
    """Yield the letters that are meant, page by page."""
    timeout = program.app.conf.broker_timeout_seconds
    kind = "parked" if selection.parked else "dead"
    after = None
    while page := transport.letters(kind, limit=_BATCH, after=after, timeout=timeout):
        after = page[-1].id
        yield from filter(selection.takes, page)


def _of_all_kinds(program: Program, transport: Any) -> Iterator[Letter]:
    for parked in (False, True):
        yield from _letters(program, transport, Selection(parked=parked))


def _check(wanted: Collection[str], known: Collection[str]) -> None:
    for each in wanted:
        if each not in known:
            raise _unknown(each, known)


def _unknown(letter_id: str, known: Collection[str]) -> click.ClickException:
    return click.ClickException(f"No message {letter_id!r} was put aside.{nearest(letter_id, known)}")


def _task(letter: Letter) -> str:
    return str(letter.message.headers.get("task", "-"))


def _summary(letter: Letter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "kind": letter.kind,
        "task": letter.message.headers.get("task"),
        "task_id": letter.message.headers.get("id"),
        "queue": letter.queue,
        "reason": letter.reason,
        "moment": letter.moment,
        "deliveries": letter.deliveries,
    }


def _message(letter: Letter) -> dict[str, Any]:
    """Return the whole message; a body that is no text in base64."""
    message = letter.message
    try:
        body, encoding = message.body.decode(), None
    except UnicodeDecodeError:
        body, encoding = base64.b64encode(message.body).decode(), "base64"
    return {
        "headers": message.headers,
        "properties": message.properties,
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "routing_key": message.routing_key,
        "exchange": message.exchange,
        "priority": message.priority,
        "body": body,
        "body_encoding": encoding,
    }


def _text(body: bytes, limit: int = 2000) -> str:
    text = body[:limit].decode(errors="backslashreplace")
    return text if len(body) <= limit else f"{text} … (all of it with --json)"
