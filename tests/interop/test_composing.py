"""Signatures compose to the same data here as in Celery, whatever is composed."""

from __future__ import annotations

import json
import tempfile
from typing import Any

import pytest
from hypothesis import given, note, reject, settings
from hypothesis import strategies as st

celery = pytest.importorskip("celery", reason="Celery is not installed here: `nox -s interop` installs it")

import celeriac  # noqa: E402  after the skip
from celeriac.client.canvas import composing  # noqa: E402, F401  after the skip; makes `|` work
from celeriac.model.signature import Signature  # noqa: E402  after the skip

# A recipe is a plain tree: ("task", n), or (operation, parts).
recipes = st.recursive(
    st.integers(0, 9).map(lambda number: ("task", number)),
    lambda inner: st.one_of(
        st.tuples(st.just("chain"), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("group"), st.lists(inner, max_size=3)),
        st.tuples(st.just("chord"), st.tuples(st.lists(inner, min_size=1, max_size=3), inner)),
        st.tuples(st.just("|"), st.tuples(inner, inner)),
    ),
    max_leaves=8,
)


class Side:
    """What a recipe is carried out with."""

    def __init__(self, module: Any, task: Any) -> None:
        self.module = module
        self.task = task

    def make(self, recipe: Any) -> Any:
        kind, parts = recipe
        match kind:
            case "task":
                return self.task(parts)
            case "chain":
                return self.module.chain(*map(self.make, parts))
            case "group":
                return self.module.group([self.make(part) for part in parts])
            case "chord":
                header, body = parts
                return self.module.chord([self.make(part) for part in header], self.make(body))
            case _:
                left, right = parts
                return self.make(left) | self.make(right)


app = celery.Celery("theirs", backend=f"file://{tempfile.gettempdir()}", set_as_current=False)
theirs = Side(celery, lambda number: celery.signature("t", (number,), app=app))
ours = Side(celeriac, lambda number: Signature("t", (number,)))


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


@given(recipes)
@settings(max_examples=400, deadline=None)
def test_the_same_workflow_is_the_same_data(recipe):
    try:
        expected = plain(theirs.make(recipe))
    except (AttributeError, TypeError) as error:
        note(f"Celery cannot: {error}")
        reject()

    assert plain(ours.make(recipe)) == expected


class Shapes:
    """Names the ids of a result tuple by the order in which they are met, so that only the shape is left."""

    def __init__(self):
        self.names = {}

    def of(self, value):
        (id_, parent), members = value
        name = self.names.setdefault(id_, len(self.names))
        return (
            (name, None if parent is None else self.of(parent)),
            None if members is None else [self.of(member) for member in members],
        )


# Without groups that have no members: Celery loses them, and what is in front of them.
full = st.recursive(
    st.integers(0, 9).map(lambda number: ("task", number)),
    lambda inner: st.one_of(
        st.tuples(st.just("chain"), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("group"), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("chord"), st.tuples(st.lists(inner, min_size=1, max_size=3), inner)),
        st.tuples(st.just("|"), st.tuples(inner, inner)),
    ),
    max_leaves=8,
)


def resolved(recipe: Any) -> Any:
    """Return a recipe without groups right in groups: Celery brings their members in reverse order."""
    kind, parts = recipe
    match kind:
        case "task":
            return recipe
        case "chain" if len(parts) == 1:
            return resolved(parts[0])
        case "group":
            return (kind, members(parts))
        case "chord":
            return (kind, (members(parts[0]), resolved(parts[1])))
        case _:
            return (kind, [resolved(part) for part in parts])


def members(parts: Any) -> Any:
    inner = [resolved(part) for part in parts]
    return [each for part in inner for each in (part[1] if part[0] == "group" else [part])]


@given(full.map(resolved))
@settings(max_examples=400, deadline=None)
def test_the_same_workflow_freezes_to_the_same_tree_of_results(recipe):
    try:
        expected = theirs.make(recipe).freeze("last").as_tuple()
    except (AttributeError, TypeError, RuntimeError) as error:
        note(f"Celery cannot: {error}")
        reject()

    with celeriac.Celeriac("ours", broker="memory://", set_as_current=False) as our_app:
        made = Side(celeriac, lambda number: Signature("t", (number,), app=our_app)).make(recipe)
        frozen = made.freeze("last")

        assert Shapes().of(frozen.as_tuple()) == Shapes().of(expected)
        assert made.freeze().as_tuple() == frozen.as_tuple()
