"""Random workflows, and a small interpreter that says what each must lead to.

A recipe is a plain tree: ("task", kind, tag), ("chain", recipes), ("group", recipes), ("chord", recipes, recipe).
Every task returns the list of its arguments, so that a result shows who was given what.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from celeriac import Celeriac, Signature, chain, chord, group

KINDS = ("mark", "mark", "mark", "again", "handed", "spread", "boom")


class Failed(Exception):
    """What the interpreter raises where a workflow fails.

    `errors` are those that its caller may see: whichever member of a group fails first. A chord's own is None, that of
    a task its tag.
    """

    def __init__(self, errors: set[int | None]) -> None:
        super().__init__(errors)
        self.errors = errors


def define(app: Celeriac, runs: Counter[tuple[str, int]]) -> None:
    """Give an app the tasks of recipes; each notes its runs."""

    @app.task(name="mark")
    def mark(*args: Any) -> list[Any]:
        runs["mark", args[-1]] += 1
        return list(args)

    @app.task(name="again", bind=True, max_retries=2)
    def again(self: Any, *args: Any) -> list[Any]:
        runs["again", args[-1]] += 1
        if self.request.retries == 0:
            raise self.retry(countdown=0)
        return list(args)

    @app.task(name="handed", bind=True)
    def handed(self: Any, *args: Any) -> None:
        runs["handed", args[-1]] += 1
        self.replace(chain(mark.si(*args), mark.s(args[-1])))

    @app.task(name="spread", bind=True)
    def spread(self: Any, *args: Any) -> None:
        runs["spread", args[-1]] += 1
        self.replace(group(mark.si(args[-1]), mark.si(args[-1])))

    @app.task(name="boom")
    def boom(*args: Any) -> None:
        runs["boom", args[-1]] += 1
        raise ValueError(args[-1])


def build(app: Celeriac, recipe: Any) -> Signature[Any]:
    """Return the workflow of a recipe."""
    match recipe:
        case ("task", kind, tag):
            return app.tasks[kind].s(tag)
        case ("chain", steps):
            return chain(*[build(app, step) for step in steps])
        case ("group", members):
            return group([build(app, member) for member in members])
        case (_, header, body):
            return chord([build(app, member) for member in header], build(app, body))


@dataclass
class Interpreter:
    """Says what a recipe leads to: its value, or an error; and how often each task runs."""

    runs: Counter[tuple[str, int]] = field(default_factory=Counter)

    def value(self, recipe: Any, *given: Any, followed: bool = False) -> Any:
        """Return the value; `followed` is whether something waits for it: then a group that fails is a chord's."""
        match recipe:
            case ("task", kind, tag):
                return self._task(kind, tag, given)
            case ("chain", steps):
                for place, step in enumerate(steps, 1):
                    given = (self.value(_unrolled(step), *given, followed=followed or place < len(steps)),)
                return given[0]
            case ("group", members):
                return self._joined(members, given) if followed else self._all(_flat(members), given)
            case (_, header, body):
                return self.value(body, self._joined(header, given), followed=followed)

    def _joined(self, members: list[Any], given: tuple[Any, ...]) -> list[Any]:
        try:
            return self._all(_flat(members), given)
        except Failed:
            raise Failed({None}) from None

    def _all(self, members: list[Any], given: tuple[Any, ...]) -> list[Any]:
        """Every member runs, whatever becomes of the others."""
        values, failures = [], []
        for member in members:
            try:
                values.append(self.value(member, *given))
            except Failed as failed:
                failures.append(failed)
        if failures:
            raise Failed({error for failed in failures for error in failed.errors})
        return values

    def _task(self, kind: str, tag: int, given: tuple[Any, ...]) -> Any:
        args = [*given, tag]
        self.runs[kind, tag] += 1
        match kind:
            case "again":
                self.runs[kind, tag] += 1
            case "handed":
                self.runs["mark", tag] += 2
                return [args, tag]
            case "spread":
                self.runs["mark", tag] += 2
                return [[tag], [tag]]
            case "boom":
                raise Failed({tag})
        return args


def _unrolled(step: Any) -> Any:
    """A group of one is, in a chain, its member."""
    while step[0] == "group" and len(step[1]) == 1:
        (step,) = step[1]
    return step


def _flat(members: list[Any]) -> list[Any]:
    """Groups that are members of a group are their members."""
    return [inner for member in members for inner in (_flat(member[1]) if member[0] == "group" else [member])]


def recipes(leaves: int = 12) -> st.SearchStrategy[Any]:
    """Return the strategy of recipes; every task has a tag of its own."""
    tasks = st.tuples(st.just("task"), st.sampled_from(KINDS), st.just(0))

    def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        some = st.lists(inner, min_size=1, max_size=4)
        return st.one_of(
            st.tuples(st.just("chain"), some),
            st.tuples(st.just("group"), some),
            st.tuples(st.just("chord"), some, inner),
        )

    return st.recursive(tasks, larger, max_leaves=leaves).map(_numbered)


def _numbered(recipe: Any) -> Any:
    count = 0

    def number(part: Any) -> Any:
        nonlocal count
        match part:
            case ("task", kind, _):
                count += 1
                return ("task", kind, count)
            case (kind, members):
                return (kind, [number(member) for member in members])
            case (kind, header, body):
                return (kind, [number(member) for member in header], number(body))

    return number(recipe)
