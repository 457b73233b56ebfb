"""What commands print: columns and colours for people, JSON for programs."""

from __future__ import annotations

import json
import math
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import click

__all__ = ["ago", "as_json", "columns", "confirm", "moment", "note", "print_json", "width_of"]

_GAP = "  "
_LEAST = 12
"""A column is never cut to less."""


def columns(
    rows: Iterable[Sequence[Any]], headers: Sequence[str], *, right: Iterable[int] = (), empty: str = "Nothing."
) -> None:
    """Print rows in columns as wide as they need; on a terminal the last column is folded to what is left.

    Args:
        rows: The cells; None is shown as a dash.
        headers: The head of each column.
        right: Which columns are aligned right: numbers.
        empty: What to say where there are no rows.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        click.echo(empty)
        return
    widths = [max(width_of(row[at]) for row in [list(headers), *cells]) for at in range(len(headers))]
    aligned = set(right)
    room = _room(widths)
    click.echo(click.style(_line(headers, widths, aligned), bold=True))
    for row in cells:
        *heads, last = row
        first, *more = _fold(last, room) if len(widths) - 1 not in aligned else [last]
        click.echo(_line([*heads, first], widths, aligned))
        indent = " " * (sum(widths[:-1]) + len(_GAP) * (len(widths) - 1))
        for part in more:
            click.echo(indent + part)


def as_json(value: Any) -> str:
    """Return JSON in ASCII, indented; NaN and infinities are null, what JSON has no form for is its repr."""
    return json.dumps(_plain(value), indent=2)


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    click.echo(as_json(value))


def note(text: str, *, file: TextIO | None = None) -> None:
    """Say something to a person, not with --quiet: on standard error, since standard output is for answers."""
    context = click.get_current_context(silent=True)
    if context is None or not getattr(context.obj, "quiet", False):
        click.echo(text, file=file or sys.stderr)


def confirm(question: str) -> None:
    """Ask before something that cannot be undone; return if the answer is yes.

    Raises: ClickException: it is no, or nobody is there to ask.
    """
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort as error:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)  # the question is still on its line
        raise click.ClickException("Nobody answered; nothing was done. Pass --force to not be asked.") from error
    if not agreed:
        raise click.ClickException("Nothing was done.")


def moment(seconds: float | None) -> str:
    """Return a moment, in seconds since 1970, as UTC to the second."""
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def ago(seconds: float | None) -> str:
    """Return a duration in its one or two largest units: `3d 4h`, `12m 5s`, `0.4s`."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f}s"
    parts: list[str] = []
    rest = int(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0"))


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes; wide East Asian characters take two."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    # A message of a stranger must not move the cursor of the person who reads it.
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(value))


def _line(cells: Sequence[str], widths: Sequence[int], right: set[int]) -> str:
    parts = []
    for at, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        pad = " " * (width - width_of(cell))
        parts.append(pad + cell if at in right else cell + pad)
    return _GAP.join(parts).rstrip()


def _room(widths: Sequence[int]) -> int | None:
    """Return the columns left for the last cell; None where nobody looks at the width: in a file or a pipe."""
    if not sys.stdout.isatty():
        return None
    taken = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
    return max(shutil.get_terminal_size().columns - taken, _LEAST)


def _fold(text: str, room: int | None) -> list[str]:
    """Break a text at blanks into lines of at most `room` columns; a longer word keeps its length."""
    if room is None or width_of(text) <= room:
        return [text]
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and width_of(lines[-1]) + 1 + width_of(word) > room:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return lines


def _plain(value: Any) -> Any:
    fields = getattr(type(value), "__struct_fields__", None)
    if fields is not None:  # a msgspec record; asking so spares `--help` the import of msgspec
        value = {name: getattr(value, name) for name in fields}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in (sorted(value, key=repr) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return value.isoformat() if isinstance(value, datetime) else repr(value)
