"""Random workflows, and a small interpreter that says what each must lead to.

A recipe is a plain tree:

    ("task", kind, tag)           a call of the task `kind`
    ("chain", recipes)            ("group", recipes)            ("chord", recipes, recipe)
    ("quorum", recipes, recipe)   a chord that needs `needed(recipes)` of its members
    ("linked", recipe, tag)       a callback on what a recipe ends with
    ("guarded", recipe, tag)      an error callback on it

Tasks that return anything return the list of their arguments, so that a result shows who was given what.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

EVERYWHERE = ("mark", "mark", "mark", "again", "handed", "spread", "fanned", "woven", "fixed", "silent")
FAILING = ("boom", "dashed", "torn", "rejected", "ignored")
KINDS = (*EVERYWHERE, *FAILING)
"""What every way of running tasks knows."""
ADDS = "joined_by"
"""The kind that adds a member to the chord in whose header it is: one at the most, else their order were by chance."""
CHORDS = ("chord", "quorum")
UNSTARTED = ("expired", "revoked")
"""What only workers refuse."""
UNSTORED = ("silent", "ignored")
"""Kinds that leave no result: only a join tells what became of them."""
CHORD_ERROR = "ChordError"
MARKS = {"handed": 2, "spread": 2, "fanned": 3, "woven": 3, "dashed": 1, "torn": 1}
"""How often what takes the place of a run runs `mark`."""
ERRORS = {
    "boom": "ValueError {}",
    "dashed": "ValueError {}",
    "torn": CHORD_ERROR,
    "rejected": "Reject not {}",
}


class Failed(Exception):
    """What the interpreter raises where a workflow fails.

    `errors` are those that its caller may see, as `seen` names them: whichever member of a group fails first.
    """

    def __init__(self, errors: set[str]) -> None:
        super().__init__(errors)
        self.errors = errors


class Stopped(Exception):
    """A task was ignored: its chain ends without a result, and a join gets None of it."""


def seen(error: BaseException) -> str:
    """Name an error as the interpreter does; the text of a chord's own names an id, which nobody can foretell."""
    name = type(error).__name__
    return name if name == CHORD_ERROR else f"{name} {error.args[0]}"


@dataclass
class Interpreter:
    """Says what a recipe leads to: its value, or an error; and how often each task runs."""

    runs: Counter[tuple[str, int]] = field(default_factory=Counter)
    links: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    guards: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))

    def run(self, recipe: Any) -> Any:
        """Return the value of a whole recipe.

        Raises: Failed, Stopped.
        """
        return self.value(self._plain(recipe))

    def value(self, recipe: Any, *given: Any, followed: bool = False) -> Any:
        """Return the value; `followed` is whether something waits for it: then a group that fails is a chord's."""
        match recipe:
            case ("task", kind, tag):
                return self._task(kind, tag, given)
            case ("chain", _):
                steps = _steps(recipe)
                for place, step in enumerate(steps, 1):
                    rest = ("chain", steps[place:])
                    given = (self._step(step, given, rest, followed=followed),)
                return given[0]
            case ("group", members):
                return self._joined(members, given, None) if followed else self._all(_flat(members), given)
            case ("quorum", header, body):
                return self.value(body, self._quorum(header, given, body), followed=followed)
            case (_, header, body):
                return self.value(body, self._joined(header, given, body), followed=followed)

    def _step(self, step: Any, given: tuple[Any, ...], rest: Any, *, followed: bool) -> Any:
        last = not rest[1]
        if step[0] == "group" and not last:
            return self._joined(step[1], given, rest)
        return self.value(step, *given, followed=followed or not last)

    def _joined(self, members: list[Any], given: tuple[Any, ...], body: Any) -> list[Any]:
        try:
            return self._all(_flat(members), given, joined=True)
        except Failed:
            if body is not None:
                self._skipped(body)
            raise Failed({CHORD_ERROR}) from None

    def _quorum(self, members: list[Any], given: tuple[Any, ...], body: Any) -> list[Any]:
        values = []
        for member in _flat(members):
            try:
                values.append(self.value(member, *given, followed=True))
            except Failed:
                continue
            except Stopped:
                values.append(None)
        if len(values) < needed(members):
            self._skipped(body)
            raise Failed({CHORD_ERROR})
        return values

    def _all(self, members: list[Any], given: tuple[Any, ...], *, joined: bool = False) -> list[Any]:
        """Every member runs, whatever becomes of the others."""
        values: list[Any] = []
        failures, stopped = [], False
        for member in members:
            try:
                values.append(self.value(member, *given, followed=joined))
            except Failed as failed:
                failures.append(failed)
            except Stopped:
                values.append(None)
                stopped = True
        for tag in [member[2] for member in members if member[1] == ADDS]:
            self.runs["mark", tag] += 1
            values.append([tag])
        if failures:
            raise Failed({error for failed in failures for error in failed.errors})
        if stopped and not joined:
            raise Stopped
        return values

    def _skipped(self, recipe: Any) -> None:
        """Count the error callbacks of what would have begun next."""
        match recipe:
            case ("task", _, tag):
                self._call("errnote", self.guards[tag])
            case ("chain", _):
                first, *rest = _steps(recipe)
                self._skipped(first)
                if first[0] == "group" and rest:
                    self._skipped(("chain", rest))
            case ("group", members):
                for member in _flat(members):
                    self._skipped(member)
            case (_, header, body):
                self._skipped(("group", header))
                self._skipped(body)

    def _task(self, kind: str, tag: int, given: tuple[Any, ...]) -> Any:
        try:
            value = self._returned(kind, tag, [*given, tag])
        except Failed:
            if kind not in ("rejected", *UNSTARTED):
                self._call("errnote", self.guards[tag])
            raise
        self._call("note", self.links[tag])
        return value

    def _call(self, task: str, tags: list[int]) -> None:
        self.runs.update((task, tag) for tag in tags)

    def _returned(self, kind: str, tag: int, args: list[Any]) -> Any:
        if kind in UNSTARTED:
            raise Failed({f"TaskRevokedError {kind}"})
        self.runs["mark" if kind == "fixed" else kind, tag] += 2 if kind == "again" else 1
        self.runs["mark", tag] += MARKS.get(kind, 0)
        self.runs["boom", tag] += kind in ("dashed", "torn")
        if kind == "ignored":
            raise Stopped
        if kind in ERRORS:
            raise Failed({ERRORS[kind].format(tag)})
        values = {
            "fixed": [tag],
            "handed": [args, tag],
            "spread": [[tag], [tag]],
            "fanned": [[[tag], tag], [[tag], tag]],
            "woven": [[[tag], [tag]], tag],
        }
        return values.get(kind, args)

    # -- callbacks -----------------------------------------------------------------------------------------

    def _plain(self, recipe: Any) -> Any:
        """Return a recipe without links and guards, having noted which tasks they come to be on."""
        match recipe:
            case ("task", _, _):
                return recipe
            case ("chain" | "group" as kind, members):
                return (kind, [self._plain(member) for member in members])
            case ("chord" | "quorum" as kind, header, body):
                return (kind, [self._plain(member) for member in header], self._plain(body))
            case (what, inner, number):
                plain = self._plain(inner)
                for tag in _ends(plain) if what == "linked" else _guarded(plain):
                    (self.links if what == "linked" else self.guards)[tag].append(number)
                return plain


def _ends(recipe: Any) -> list[int]:
    """Return the tags of the tasks that a recipe ends with."""
    match recipe:
        case ("task", _, tag):
            return [tag]
        case ("chain", _):
            return _ends(_steps(recipe)[-1])
        case ("group", members):
            return [tag for member in members for tag in _ends(member)]
        case (_, _, body):
            return _ends(body)


def _guarded(recipe: Any) -> list[int]:
    """Return the tags of the tasks that get an error callback: the steps of a chain, the body of a chord."""
    match recipe:
        case ("task", _, tag):
            return [tag]
        case ("chain", _):
            return [tag for step in _steps(recipe) if step[0] != "group" for tag in _guarded(step)]
        case (_, _, body):
            return _guarded(body)


def ends_in_group(recipe: Any) -> bool:
    """Whether what a recipe ends with are several tasks."""
    match recipe:
        case ("task", _, _):
            return False
        case ("chain", _):
            return ends_in_group(_steps(recipe)[-1])
        case ("group", _):
            return True
        case (_, inner, _) if recipe[0] not in CHORDS:
            return ends_in_group(inner)
        case (_, _, body):
            return ends_in_group(body)


def kinds(recipe: Any) -> set[str]:
    """Return the kinds of the tasks of a recipe."""
    match recipe:
        case ("task", kind, _):
            return {kind}
        case (_, list(members)):
            return {kind for member in members for kind in kinds(member)}
        case ("chord" | "quorum", header, body):
            return kinds(("group", [*header, body]))
        case (_, inner, _):
            return kinds(inner)
    return set()


def _steps(recipe: Any) -> list[Any]:
    """The steps of a chain, chains in it resolved."""
    found: list[Any] = []
    for step in recipe[1]:
        found += _steps(step) if step[0] == "chain" else [step]
    return _extended(found)


def _extended(steps: list[Any]) -> list[Any]:
    """What follows a chord that ends with a group is part of its body."""
    found: list[Any] = []
    for step in reversed(steps):
        if step[0] in CHORDS and ends_in_group(step) and found:
            found = [(step[0], step[1], ("chain", [step[2], *found]))]
        else:
            found.insert(0, step)
    return found


def _flat(members: list[Any]) -> list[Any]:
    """Groups that are members of a group are their members."""
    return [inner for member in members for inner in (_flat(member[1]) if member[0] == "group" else [member])]


def recipes(leaves: int = 12, *, among: tuple[str, ...] = KINDS) -> st.SearchStrategy[Any]:
    """Return the strategy of recipes; every task has a tag of its own. Each of them leaves a result."""
    tasks = st.tuples(st.just("task"), st.sampled_from(among), st.just(0))

    def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        some = st.lists(inner, min_size=1, max_size=4)
        return st.one_of(
            st.tuples(st.just("chain"), some.map(_unrolled)),
            st.tuples(st.just("group"), some).map(_simple),
            st.tuples(st.just("chord"), st.tuples(some, st.booleans()).map(_with_one_that_adds), inner),
            st.tuples(st.just("quorum"), some, inner),
            st.tuples(st.sampled_from(("linked", "guarded")), inner, st.just(0)).map(_only_on_one),
        )

    return st.recursive(tasks, larger, max_leaves=leaves).map(_told).map(_numbered)


def needed(header: list[Any]) -> int:
    """Return how many members a quorum of this header needs: all that succeed, so that nothing is left to chance.

    One more, which makes it fail, where that is to be seen too.
    """
    members = _flat(header)
    succeed = sum(_succeeds(member) for member in members)
    return min(max(1, succeed + (len(members) % 3 == 0)), len(members))


def _succeeds(member: Any) -> bool:
    interpreter = Interpreter()
    try:
        interpreter.value(interpreter._plain(member), followed=True)
    except Failed:
        return False
    except Stopped:
        pass
    return True


def _with_one_that_adds(given: tuple[list[Any], bool]) -> list[Any]:
    """Return a header, in front of it a member that adds another if that is so."""
    header, adds = given
    return [("task", ADDS, 0), *header] if adds else header


def _simple(recipe: Any) -> Any:
    """Return a group whose only member is a group as that."""
    (member, *others) = recipe[1]
    return recipe if others or member[0] != "group" else member


def _unrolled(steps: list[Any]) -> list[Any]:
    """Return steps none of which is a group of one: what that is depends on how it was composed, as in Celery."""
    return [step[1][0] if step[0] == "group" and len(step[1]) == 1 else step for step in steps]


def _only_on_one(recipe: Any) -> Any:
    """Leave out callbacks on several tasks, which are those of a group's members."""
    return recipe[1] if ends_in_group(recipe[1]) else recipe


def _told(recipe: Any) -> Any:
    """Give a recipe that may leave no result of its own to a join, which tells of it."""
    return ("chord", [recipe], ("task", "mark", 0)) if kinds(recipe) & set(UNSTORED) else recipe


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
            case ("chord" | "quorum" as kind, header, body):
                return (kind, [number(member) for member in header], number(body))
            case (what, inner, _):
                count += 1
                mine = count
                return (what, number(inner), mine)

    return number(recipe)
