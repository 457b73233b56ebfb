from __future__ import annotations

from contextlib import suppress
from datetime import UTC, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.config.setting import Setting, at_least
from celeriac.config.table import TABLE
from celeriac.config.values import accept, describe, parse
from celeriac.errors import InvalidSetting


def setting(kind: Any, **options: Any) -> Setting:
    return Setting(**{"name": "some", "type": kind, "default": None, "doc": "Some.", **options})


@pytest.mark.parametrize(
    ("kind", "value", "fitted"),
    [
        (bool, False, False),
        (int, 3, 3),
        (float, 3, 3),
        (float, timedelta(minutes=2), 120.0),
        (float | None, None, None),
        (str, "x", "x"),
        (tuple[str, ...], ["a", "b"], ("a", "b")),
        (tuple[str, ...], {"b", "a"}, ("a", "b")),
        (dict[str, Any], {"a": 1}, {"a": 1}),
        (Any, UTC, UTC),
    ],
)
def test_a_fitting_value_is_taken_in_the_type_of_the_setting(kind: Any, value: Any, fitted: Any) -> None:
    assert accept(setting(kind), value, source="here") == fitted


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (bool, 1, "true or false"),
        (int, True, "an integer"),
        (int, 1.0, "an integer"),
        (float, float("nan"), "a number"),
        (float, float("inf"), "a number"),
        (float | None, "1", "a number or None"),
        (str, None, "a string"),
        (tuple[str, ...], "abc", "a list of strings"),
        (tuple[str, ...], [1], "a list of strings"),
        (dict[str, Any], {1: 2}, "a dictionary"),
    ],
)
def test_another_value_is_refused_with_what_fits(kind: Any, value: Any, expected: str) -> None:
    with pytest.raises(InvalidSetting, match=f"must be {expected}"):
        accept(setting(kind), value, source="here")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (bool, "Yes", True),
        (bool, "0", False),
        (int | None, "None", None),
        (int | None, " 7 ", 7),
        (float, "0.5", 0.5),
        (str | None, "null", None),
        (str, "none", "none"),
        (tuple[str, ...], "a, b,", ("a", "b")),
        (tuple[str, ...], '["a,b"]', ("a,b",)),
        (dict[str, Any], '{"a": [1]}', {"a": [1]}),
        (Any, "[1]", [1]),
        (Any, "words", "words"),
        (int | str, "2", 2),
    ],
)
def test_text_is_read_as_the_type_of_the_setting(kind: Any, text: str, value: Any) -> None:
    assert parse(setting(kind), text, source="here") == value


@pytest.mark.parametrize(
    ("kind", "text"), [(bool, "maybe"), (int, "1.5"), (float, "nan"), (dict[str, Any], "{"), (tuple[str, ...], "[1]")]
)
def test_text_that_does_not_fit_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(InvalidSetting, match="here"):
        parse(setting(kind), text, source="here")


def test_a_bound_and_choices_are_part_of_what_is_expected() -> None:
    bound = setting(int | None, check=at_least(1))
    chosen = setting(str | None, choices=("a", "b"))

    assert describe(bound) == "an integer (1 or more) or None"
    assert describe(chosen) == "'a', 'b' or None"
    for each, value in ((bound, 0), (chosen, "c")):
        with pytest.raises(InvalidSetting, match="must be"):
            accept(each, value, source="here")


def test_a_value_must_be_more_than_an_excluded_bound() -> None:
    with pytest.raises(InvalidSetting, match="more than 0"):
        accept(setting(float, check=at_least(0, beyond=True)), 0, source="here")


@given(name=st.sampled_from(sorted(TABLE)), text=st.text())
def test_no_text_makes_a_setting_of_the_core_fail_in_another_way_than_being_refused(name: str, text: str) -> None:
    with suppress(InvalidSetting):
        accepted = parse(TABLE[name], text, source="here")
        assert accept(TABLE[name], accepted, source="here") == accepted


@given(
    name=st.sampled_from(sorted(TABLE)),
    value=st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.binary(),
        st.lists(st.integers()),
        st.dictionaries(st.text(), st.integers()),
    ),
)
def test_no_value_makes_a_setting_of_the_core_fail_in_another_way_either(name: str, value: object) -> None:
    with suppress(InvalidSetting):
        accepted = accept(TABLE[name], value, source="here")
        assert accept(TABLE[name], accepted, source="here") == accepted
