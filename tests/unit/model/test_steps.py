"""The later steps of a chain, read only where somebody looks."""

from __future__ import annotations

import json

import msgspec
import pytest

from celeriac.errors import DecodeError
from celeriac.model.steps import Steps

JSON = "application/json"


class Reader:
    """Reads JSON, and counts."""

    def __init__(self) -> None:
        self.read: list[bytes] = []

    def __call__(self, data: bytes):
        self.read.append(data)
        return json.loads(data)


@pytest.fixture
def reader():
    return Reader()


@pytest.fixture
def make(reader):
    def make(text: str) -> Steps:
        return Steps(msgspec.json.decode(text, type=list[msgspec.Raw]), reader, JSON)

    return make


def test_only_the_next_step_is_read_and_the_others_stay_as_they_were_written(make, reader):
    rest, step = make('[{"task" : "last"}, {"task":"then", "x":1.50}, {"task":"next"}]').split()

    assert step == {"task": "next"}
    assert reader.read == [b'{"task":"next"}']
    assert isinstance(rest, Steps)
    assert rest.written(JSON) == b'[{"task" : "last"},{"task":"then", "x":1.50}]'
    assert len(rest) == 2


def test_the_last_step_leaves_nothing(make):
    rest, _ = make('[{"task":"next"}]').split()

    assert not rest
    assert list(rest) == []


def test_they_are_a_sequence_of_tables(make):
    steps = make('[{"n":1},{"n":2},{"n":3}]')

    assert [step["n"] for step in steps] == [1, 2, 3]
    assert (steps[0], steps[-1], steps[1:]) == ({"n": 1}, {"n": 3}, [{"n": 2}, {"n": 3}])
    assert len(steps) == 3


def test_who_looked_at_them_may_have_changed_them(make):
    steps = make('[{"n":1},{"n":2},{"n":3}]')

    del steps.all()[1]

    assert len(steps) == 2
    assert steps.written(JSON) is None
    assert steps.split() == ([{"n": 1}], {"n": 3})


def test_in_another_serializers_body_they_cannot_stand_as_they_are(make):
    assert make('[{"n":1}]').written("application/x-yaml") is None


@pytest.mark.parametrize("step", ["5", '"{}"', "[{}]", "null"])
def test_a_step_that_is_no_table_is_refused(make, step):
    make("[{},{}]").check()

    with pytest.raises(DecodeError):
        make(f"[{step},{{}}]").check()
