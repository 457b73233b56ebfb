"""Types of options that several commands share."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    Parameter = click.ParamType[Any]
else:
    Parameter = click.ParamType  # generic only since click 8.4

__all__ = ["AS_JSON", "LOG_FORMATS", "LOG_LEVELS", "JsonValue", "Moment", "NameList", "Seconds"]

LOG_FORMATS = ("text", "color", "json")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")


class JsonValue(Parameter):
    """A JSON list or object."""

    def __init__(self, kind: type, name: str) -> None:
        self.kind = kind
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it, or fail with where it went wrong."""
        if isinstance(value, self.kind):
            return value
        try:
            found = json.loads(value)
        except (ValueError, RecursionError) as error:
            self.fail(f"is no JSON: {error}. Quote it for the shell, as in '[1, \"two\"]'.", param, ctx)
        if not isinstance(found, self.kind):
            self.fail(f"must be a JSON {self.name}; got {value}", param, ctx)
        return found


class Moment(Parameter):
    """A moment in ISO 8601, or, where allowed, seconds from now."""

    name = "moment"

    def __init__(self, *, seconds: bool = False) -> None:
        self.seconds = seconds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it; without a zone it is meant in the app's."""
        if isinstance(value, datetime | float):
            return value
        if self.seconds:
            try:
                return float(value)
            except ValueError:
                pass
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            also = " or a number of seconds" if self.seconds else ""
            self.fail(f"{value!r} is no moment such as 2030-01-31T12:00:00Z{also}.", param, ctx)


class NameList(Parameter):
    """Names separated by commas."""

    name = "a,b,…"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> Any:
        """Split it."""
        if not isinstance(value, str):
            return value
        return tuple(name.strip() for name in value.split(",") if name.strip())


Seconds: click.FloatRange = click.FloatRange(min=0)

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
