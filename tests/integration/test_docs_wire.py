"""The page on the wire lists what is written: every header, property and field, and no other."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from uuid import UUID

import msgspec
import pytest
from tree import ROOT

from celeriac import Celeriac
from celeriac.model.document import exception_data, result_document
from celeriac.model.protocol import TaskHeaders
from celeriac_json.serializer import JsonSerializer

PAGE = (ROOT / "docs" / "reference" / "wire.md").read_text(encoding="utf-8")


@cache
def table(heading: str) -> list[str]:
    """Return the names in the first cells of the table below a heading."""
    section = re.split(r"(?m)^#+ ", PAGE.partition(f"# {heading}\n")[2])[0]
    return [name for cell in re.findall(r"(?m)^\| (`.+?) \|", section) for name in re.findall(r"`(\w+)`", cell)]


@pytest.fixture
def message():
    app = Celeriac("proj", broker="memory://", backend="memory://", set_as_current=False)
    return app.publisher.build("proj.add", (1, 1), countdown=10)


def test_the_headers_that_are_written_are_those_of_the_page(message) -> None:
    read = {field.encode_name for field in msgspec.structs.fields(TaskHeaders)}

    assert "<!-- rendered: headers -->" in PAGE
    assert set(message.headers) == read - {"compression"} | {"argsrepr", "kwargsrepr"}
    assert "`argsrepr`" in PAGE
    assert "`kwargsrepr`" in PAGE


def test_the_properties_that_are_written_are_those_of_the_page(message) -> None:
    assert sorted(table("Properties")) == sorted(message.properties)


def test_the_fields_of_a_result_are_those_of_the_page() -> None:
    extended = dict.fromkeys(("name", "args", "kwargs", "worker", "retries", "queue"))
    document = result_document(
        task_id="1", state="SUCCESS", result=4, group_id="2", parent_id="3", extended=extended
    )  # fmt: skip

    assert table("Result documents") == list(document)


def test_an_exception_is_the_mapping_of_the_page() -> None:
    fields = ", ".join(f'"{name}"' for name in exception_data(ValueError("no")))

    assert f"`{{{fields}}}`" in PAGE


@pytest.mark.parametrize(
    ("marker", "value"),
    [
        ("datetime", datetime(2026, 1, 2, tzinfo=UTC)),
        ("date", date(2026, 1, 2)),
        ("time", time(3, 4)),
        ("decimal", Decimal("1.50")),
        ("uuid", UUID(int=1)),
        ("bytes", b"text"),
        ("base64", b"\xff"),
    ],
)
def test_every_marker_of_json_is_on_the_page(marker: str, value: object) -> None:
    written = msgspec.json.decode(JsonSerializer().dumps(value))

    assert written["__type__"] == marker
    assert marker in table("JSON")
