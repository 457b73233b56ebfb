"""Task message protocol, version 2: headers and body, written and checked, without input or output.

Source: the message protocol of Celery 5 (its documentation, "Message Protocol", version 2), as its code has it:
`timelimit` is `[hard, soft]`, chains are reversed, every header is always present.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct, field

from celeriac.errors import InvalidMessage

__all__ = ["Embed", "TaskHeaders", "WrittenEmbed", "check_body", "check_headers", "moment_from_text", "task_headers"]

REPR_LIMIT = 1024
"""How many characters of `argsrepr` and `kwargsrepr` travel."""


class TaskHeaders(Struct, frozen=True, kw_only=True, gc=False):
    """The headers of one task message that a worker decides by. Headers beyond these are the user's own."""

    task: str
    id: str
    lang: str | None = None
    shadow: str | None = None
    eta: str | None = None
    expires: str | None = None
    group: str | None = None
    group_index: int | None = None
    retries: int = 0
    timelimit: tuple[float | None, float | None] | None = None
    root_id: str | None = None
    parent_id: str | None = None
    origin: str | None = None
    ignore_result: bool | None = None
    replaced_task_nesting: int | None = 0
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = field(default_factory=dict)
    compression: str | None = None

    def ignores_result(self, task_ignores: bool) -> bool:
        """Whether nothing is to be stored: as the call says, else as its task does."""
        return task_ignores if self.ignore_result is None else self.ignore_result


class Embed(Struct, frozen=True, kw_only=True, gc=False):
    """The third part of the body: what is to happen after the task. Signatures are in their wire form.

    `chain` is reversed: its last element is the next step. It may be `Steps`, which are read where somebody looks.
    """

    callbacks: list[dict[str, Any]] | None = None
    errbacks: list[dict[str, Any]] | None = None
    chain: Sequence[dict[str, Any]] | None = None
    chord: dict[str, Any] | None = None


class WrittenEmbed(Embed, frozen=True, kw_only=True, gc=False):
    """The same as read from JSON at first, the steps of the chain as they were written."""

    chain: list[msgspec.Raw] | None = None  # type: ignore[assignment]  # of `written_steps` an `Embed` is made


NO_EMBED = Embed()


def task_headers(
    *,
    task: str,
    id: str,  # noqa: A002  the header's name
    origin: str,
    argsrepr: str,
    kwargsrepr: str,
    shadow: str | None = None,
    eta: str | None = None,
    expires: str | None = None,
    group: str | None = None,
    group_index: int | None = None,
    retries: int = 0,
    timelimit: Sequence[float | None] = (None, None),
    root_id: str | None = None,
    parent_id: str | None = None,
    ignore_result: bool | None = False,
    replaced_task_nesting: int = 0,
    stamped_headers: list[str] | None = None,
    stamps: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Build the header table, every key present, in the order Celery writes them."""
    return {
        "lang": "py",
        "task": task,
        "id": id,
        "shadow": shadow,
        "eta": eta,
        "expires": expires,
        "group": group,
        "group_index": group_index,
        "retries": retries,
        "timelimit": list(timelimit),
        "root_id": root_id or id,
        "parent_id": parent_id,
        "argsrepr": argsrepr,
        "kwargsrepr": kwargsrepr,
        "origin": origin,
        "ignore_result": ignore_result,
        "replaced_task_nesting": replaced_task_nesting,
        "stamped_headers": stamped_headers,
        "stamps": stamps or {},
    }


_PATH = re.compile(r" - at `\$\.?([^`]*)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")


def check_headers(headers: Mapping[str, Any]) -> TaskHeaders:
    """Check a header table and return what a worker decides by.

    Raises: InvalidMessage: naming the first field that is missing or malformed.
    """
    try:
        return msgspec.convert(headers, TaskHeaders)
    except msgspec.ValidationError as error:
        raise _invalid(error) from error


def _invalid(error: msgspec.ValidationError, inside: str = "") -> InvalidMessage:
    text = str(error)
    missing = _MISSING.search(text)
    if missing:
        return InvalidMessage(missing.group(1), "is missing")
    path = _PATH.search(text)
    name = path.group(1) if path else ""
    problem = _PATH.sub("", text)
    return InvalidMessage(".".join(filter(None, [inside, name])) or "headers", problem[:1].lower() + problem[1:])


def check_body(body: Any) -> tuple[list[Any], dict[str, Any], Embed]:
    """Check a decoded body and return its args, kwargs and embed.

    A mapping `{args, kwargs, callbacks, …}` under version 2 headers, which some foreign clients send, is taken too.

    Raises: InvalidMessage: naming the part that is malformed.
    """
    if isinstance(body, Mapping):
        return _check_parts(body.get("args") or [], body.get("kwargs") or {}, body)
    if not isinstance(body, list | tuple):
        raise InvalidMessage("body", f"must be an array of args, kwargs and embed, not {type(body).__name__}")
    if len(body) != 3:
        raise InvalidMessage("body", f"must have 3 parts (args, kwargs, embed), not {len(body)}")
    return _check_parts(*body)


def _check_parts(args: Any, kwargs: Any, embed: Any) -> tuple[list[Any], dict[str, Any], Embed]:
    if not isinstance(args, list | tuple):
        raise InvalidMessage("body.args", f"must be an array, not {type(args).__name__}")
    if not isinstance(kwargs, dict):
        raise InvalidMessage("body.kwargs", f"must be a mapping, not {type(kwargs).__name__}")
    if any(type(key) is not str for key in kwargs):
        raise InvalidMessage("body.kwargs", "must have texts as keys")
    if not embed:
        return list(args), kwargs, NO_EMBED
    try:
        return list(args), kwargs, msgspec.convert(embed, Embed)
    except msgspec.ValidationError as error:
        raise _invalid(error, "body.embed") from error


def moment_from_text(text: str, name: str) -> float:
    """Return the seconds since 1970 of an ISO 8601 text; one without an offset is UTC.

    Raises: InvalidMessage: naming the header `name`; it is no moment, or out of range.
    """
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise InvalidMessage(name, f"{text[:64]!r} is no ISO 8601 moment ({error})") from error
