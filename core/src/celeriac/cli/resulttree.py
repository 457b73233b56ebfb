"""A running workflow on the terminal: its tasks as a tree, and how far a group is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from celeriac.cli.output import ago

__all__ = ["as_data", "first_of", "print_tree", "show_progress"]

COLORS = {"SUCCESS": "green", "FAILURE": "red", "REVOKED": "red"}
MOST_MEMBERS = 50
"""Of a larger group the first ones are printed, and how many there are more."""
BAR = 30


def first_of(node: Any) -> Any:
    """Return what the workflow of a result began with, as far as it and the store know."""
    seen = {node.id}
    while (before := _before(node)) is not None and before.id not in seen:
        seen.add(before.id)
        node = before
    return node


def print_tree(node: Any) -> None:
    """Print the workflow of a result, with states, names and durations as far as the store knows them."""
    seen: set[str] = set()
    for line in _lines(first_of(node), None, seen):
        click.echo(line)
    if node.id not in seen:  # what is before it has not told yet that it leads there
        for line in _lines(node, None, seen):
            click.echo(line)


def as_data(node: Any, after: datetime | None = None) -> dict[str, Any]:
    """Return the tree as data for programs: id, state, name, `seconds` since what led to it ended, and children."""
    if node.is_group:
        return {
            "id": node.id,
            "state": _group_state(node),
            "done": _done(node),
            "children": [as_data(child, after) for child in node.results],
        }
    return {
        "id": node.id,
        "state": node.state,
        "name": node.name,
        "seconds": _seconds(after, _ended(node)),
        "children": [as_data(child, _ended(child.parent or node)) for child in _followers(node)],
    }


def show_progress(group: Any, *, timeout: float | None, interval: float = 0.2) -> bool:
    """Draw how many of a group's members have ended until all have; return whether they have.

    On a terminal it is one line that changes; elsewhere one line for each change.
    """
    end = None if timeout is None else time.monotonic() + timeout
    drawn: str | None = None
    while True:
        done, total = _done(group), len(group._leaves)
        text = _bar(done, total, sum(leaf.failed() for leaf in group._leaves if not leaf.pending))
        if text != drawn:
            click.echo(f"\r{text}" if sys.stdout.isatty() else text, nl=not sys.stdout.isatty())
            drawn = text
        if done == total or (end is not None and time.monotonic() >= end):
            break
        time.sleep(interval)
    if sys.stdout.isatty():
        click.echo()
    return done == total


def _lines(node: Any, after: datetime | None, seen: set[str]) -> Iterator[str]:
    seen.add(node.id)
    if node.is_group:
        yield f"group of {len(node.results)}  {_state(_group_state(node))}  {_done(node)} ended  {node.id}"
        members = node.results
    else:
        yield _line(node, _seconds(after, _ended(node)))
        members = _followers(node)
    blocks: list[list[str]] = []
    for member in members[:MOST_MEMBERS]:
        if member.id not in seen:
            before = after if node.is_group else _ended(member.parent or node)
            blocks.append(list(_lines(member, before, seen)))
    if len(members) > MOST_MEMBERS:
        blocks.append([f"… and {len(members) - MOST_MEMBERS} more"])
    for place, (head, *rest) in enumerate(blocks, 1):
        last = place == len(blocks)
        yield f"{'└─' if last else '├─'} {head}"
        yield from (f"{'  ' if last else '│ '} {line}" for line in rest)


def _before(node: Any) -> Any:
    if node.parent is not None or node.is_group or node.parent_id is None:
        return node.parent
    parent = node.app.AsyncResult(node.parent_id)
    return parent if parent.exists() else None


def _followers(node: Any) -> list[Any]:
    """Return what a result led to; in front of a chord's body, or a chain's last step, those that lead to it."""
    found: list[Any] = []
    for child in node.children:
        before = [child]
        while before[0].parent is not None and before[0].parent.id != node.id:
            before.insert(0, before[0].parent)
        found += before
    return found


def _line(node: Any, seconds: float | None) -> str:
    parts = [node.name or "task", _state(node.state)]
    if seconds is not None:
        parts.append(f"+{ago(seconds)}")
    error = node.result if node.state in ("FAILURE", "RETRY", "REVOKED") else None
    if isinstance(error, BaseException):
        parts.append(f"{type(error).__name__}: {error}".splitlines()[0])
    return "  ".join([*parts, node.id])


def _state(state: str) -> str:
    return click.style(state, fg=COLORS.get(state, "yellow"))


def _group_state(group: Any) -> str:
    if not group.ready():
        return "FAILURE" if group.failed() else "PENDING"
    return "SUCCESS" if group.successful() else "FAILURE"


def _ended(node: Any) -> datetime | None:
    """Return when a task ended, or the last of a group; None while that is not known."""
    if not node.ready():
        return None
    moments = [leaf.date_done for leaf in (node._leaves if node.is_group else [node])]
    return max((moment for moment in moments if moment is not None), default=None)


def _done(group: Any) -> int:
    return len(group._ready())


def _seconds(after: datetime | None, ended: datetime | None) -> float | None:
    if after is None or ended is None:
        return None
    return max(0.0, (ended - after).total_seconds())


def _bar(done: int, total: int, failed: int) -> str:
    filled = BAR if not total else BAR * done // total
    bar = click.style("█" * filled, fg="red" if failed else "green") + "░" * (BAR - filled)
    percent = 100 if not total else 100 * done // total
    return f"{bar} {done}/{total} {percent}%" + (f", {failed} failed" if failed else "")
