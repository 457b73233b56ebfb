from __future__ import annotations

import json
from datetime import UTC, datetime

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from celeriac.cli.output import ago, as_json, columns, moment, width_of


class Record(Struct):
    name: str
    size: float


def test_columns_are_as_wide_as_their_widest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    columns([("a", 1), ("long name", 200)], ["Name", "Count"], right=(1,))

    assert capsys.readouterr().out == "Name       Count\na              1\nlong name    200\n"


def test_no_rows_are_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    columns([], ["Name"], empty="Nothing here.")

    assert capsys.readouterr().out == "Nothing here.\n"


def test_none_and_truth_are_words_and_control_characters_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    columns([(None, True, "a\x1b[2Jb\nc")], ["A", "B", "C"])

    assert capsys.readouterr().out.splitlines()[1] == "-  yes  a\\x1b[2Jb\\nc"


def test_the_last_column_is_folded_to_the_width_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "26")

    columns([("name", "one two three four five")], ["Name", "Words"])

    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert lines == ["Name  Words", "name  one two three four", "      five"]


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("漢字", 4), ("e\u0301", 1)])
def test_the_width_of_a_text_is_what_a_terminal_makes_of_it(text: str, width: int) -> None:
    assert width_of(text) == width


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.04, "0.0s"), (9.96, "10.0s"), (65, "1m 5s"), (3600, "1h"), (90061, "1d 1h"), (59, "59s")],
)
def test_a_duration_is_said_in_its_largest_units(seconds: float | None, text: str) -> None:
    assert ago(seconds) == text


def test_a_moment_is_said_in_utc() -> None:
    assert (moment(0), moment(None)) == ("1970-01-01 00:00:00", "-")


def test_json_takes_what_results_and_records_are_made_of() -> None:
    value = {"record": Record("a", float("nan")), 1: {3, 2}, "when": datetime(2030, 1, 1, tzinfo=UTC), "other": 1j}

    assert json.loads(as_json(value)) == {
        "record": {"name": "a", "size": None},
        "1": [2, 3],
        "when": "2030-01-01T00:00:00+00:00",
        "other": "1j",
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    )
)
def test_json_can_be_written_of_anything_and_read_back(value: object) -> None:
    json.loads(as_json(value).encode("ascii"))
