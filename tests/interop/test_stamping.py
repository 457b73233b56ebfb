"""Stamps land on the same parts, with the same values, as in Celery."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

celery = pytest.importorskip("celery", reason="Celery is not installed here: `nox -s interop` installs it")

from celery.canvas import StampingVisitor as TheirVisitor  # noqa: E402  after the skip

import celeriac  # noqa: E402  after the skip
from celeriac.client.canvas.stamping import StampingVisitor  # noqa: E402  after the skip
from celeriac.model.signature import Signature  # noqa: E402  after the skip

app = celery.Celery("theirs", set_as_current=False)

# ("task", number, callback, errback), or (kind, parts).
recipes = st.recursive(
    st.tuples(st.just("task"), st.integers(0, 9), st.booleans(), st.booleans()),
    lambda inner: st.one_of(
        st.tuples(st.just("chain"), st.lists(inner, min_size=2, max_size=3)),
        st.tuples(st.just("group"), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("chord"), st.tuples(st.lists(inner, min_size=1, max_size=3), inner)),
    ),
    max_leaves=8,
)
METHODS = ("on_group_start", "on_chain_start", "on_chord_header_start", "on_chord_body", "on_callback", "on_errback")
answers = st.fixed_dictionaries(
    {"on_signature": st.sampled_from([{"mark": "task"}, {"own": 1}, {"priority": 3, "stamped_headers": []}])},
    optional={name: st.sampled_from([{"mark": name}, {name: 1}, {}, None]) for name in METHODS},
)


def make(recipe: Any, module: Any, task: Any) -> Any:
    match recipe:
        case ("task", number, callback, errback):
            made = task("t", (number,))
            if callback:
                made.link(task("callback", ()))
            if errback:
                made.link_error(task("errback", ()))
            return made
        case ("chord", (header, body)):
            return module.chord([make(each, module, task) for each in header], make(body, module, task))
        case (kind, parts):
            members = [make(each, module, task) for each in parts]
            return module.chain(*members) if kind == "chain" else module.group(members)


def theirs(recipe: Any) -> Any:
    return make(recipe, celery, lambda name, args: celery.signature(name, args, app=app))


def ours(recipe: Any) -> Any:
    return make(recipe, celeriac, Signature)


def visitor(base: type, given_answers: dict[str, Any]) -> Any:
    def method(answer: Any) -> Any:
        return lambda self, part, **headers: None if answer is None else dict(answer)

    return type("Visitor", (base,), {name: method(answer) for name, answer in given_answers.items()})()


def plain(value: Any, *, bodies: bool = True) -> Any:
    """Return the wire form; the names of stamps sorted, a chord's header as a list.

    Celery also lists stamps of a sibling, which have no value; those are left out.
    """

    def tidy(part: Any) -> Any:
        if isinstance(part, dict):
            part = {key: tidy(each) for key, each in part.items()}
            if "stamped_headers" in part:
                part["stamped_headers"] = sorted(name for name in part["stamped_headers"] if name in part)
            if isinstance(part.get("header"), dict):
                part["header"] = part["header"]["kwargs"]["tasks"]
            if not bodies:
                part.pop("body", None)
            return part
        return [tidy(each) for each in part] if isinstance(part, list) else part

    return tidy(json.loads(json.dumps(value)))


@given(recipes, answers, st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_visitor_stamps_the_same_parts(recipe, given_answers, append):
    expected, stamped = theirs(recipe), ours(recipe)

    expected.stamp(visitor(TheirVisitor, given_answers), append_stamps=append)
    stamped.stamp(visitor(StampingVisitor, given_answers), append_stamps=append)

    assert plain(stamped) == plain(expected)


@given(recipes, st.booleans())
@settings(max_examples=200, deadline=None)
def test_headers_stamp_the_same_parts_but_the_body_of_a_chord_that_celery_leaves_out(recipe, append):
    expected, stamped = theirs(recipe), ours(recipe)

    for each in (expected, stamped):
        each.stamp(append_stamps=append, batch="b1")
        each.stamp(append_stamps=append, batch="b2", owner="me")

    assert plain(stamped, bodies=False) == plain(expected, bodies=False)
