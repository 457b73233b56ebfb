"""How a result record lies in Redis, and the rule of what replaces what, carried out on the server.

A record lies as Celery's does: the result document itself under `celery-task-meta-<id>`, so that Celery's clients read
it. Its state and content type are then read from the document. A record of which they cannot be read, or would be read
wrongly, gets a line in front that says them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from celeriac.errors import EncodeError
from celeriac.model.record import FAILURE, GROUP_PREFIX, REVOKED, SAVED, SUCCESS, ResultRecord
from celeriac_redis.link import Script

__all__ = ["KEY_PREFIX", "PUT", "STORE", "Row", "key_of", "record_of", "row_of"]

KEY_PREFIX: Final = "celery-task-meta-"
MOST_BYTES: Final = 512 << 20
"""No value of Redis is larger."""

STORE: Final = """
local RANKS = {SUCCESS = 2, FAILURE = 1, REVOKED = 1}

local function stored_rank(key)
  local head = redis.pcall('GETRANGE', key, 0, 127)
  if type(head) ~= 'string' then return 0 end
  local state = string.match(head, '^%s*{%s*"status"%s*:%s*"([^"]*)"')
    or string.match(head, '^%zceleriac {"state":"([^"]*)"')
  if state then return RANKS[state] or 0 end
  local at = string.find(head, 'status', 1, true)
  if at and string.sub(head, 1, 1) ~= '{' then
    local near = string.sub(head, at + 6, at + 20)
    for word, rank in pairs(RANKS) do
      if string.find(near, word, 1, true) then return rank end
    end
    return 0
  end
  local whole = redis.call('GET', key)
  local read, document = pcall(cjson.decode, whole)
  if read then return type(document) == 'table' and RANKS[document.status] or 0 end
  return RANKS[string.match(whole, '\\nstatus: (%u+)') or ''] or 0
end

local function celeriac_store(key, payload, px, rank)
  local first
  if px == '0' then first = redis.call('SET', key, payload, 'NX')
  else first = redis.call('SET', key, payload, 'PX', px, 'NX') end
  if not first then
    local old = stored_rank(key)
    if old == 2 or (old == 1 and rank == '0') then return end
    if px == '0' then redis.call('SET', key, payload) else redis.call('SET', key, payload, 'PX', px) end
  end
  redis.call('PUBLISH', key, payload)
end
"""
"""A Lua function for any script: `celeriac_store(key, payload, px, rank)`, the fields of a `Row` as they come in ARGV.

A record that is SUCCESS (rank 2) is never replaced, one that is ready (1) never by one that is not (0). What is stored
is announced on the channel of the key's name, as Celery does. The first record of an id, the usual one, costs two
commands. Without memory for it the server refuses the first write of a script, so all of it or nothing takes effect.
"""
PUT: Final = Script(
    "put", STORE + "for at = 1, #ARGV, 4 do celeriac_store(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]) end\n"
)
"""Stores records. Keys: those of the rows; arguments: the rows."""

_RANKS: Final[Mapping[str, int]] = {SUCCESS: 2, FAILURE: 1, REVOKED: 1}
_JSON: Final = ("application/json", "utf-8")
_PICKLE: Final = ("application/x-python-serialize", "binary")
_MSGPACK: Final = ("application/x-msgpack", "binary")
_YAML: Final = ("application/x-yaml", "utf-8")
_MARK: Final = b"\0celeriac "

_HEADS: Final = {state: b'{"status":"%s",' % state.encode() for state in (SUCCESS, FAILURE)}
"""How our own JSON documents of most tasks begin."""
_JSON_HEAD: Final = re.compile(rb'\s*\{\s*"status"\s*:\s*"([^"\\]*)"')
_PICKLE_STATUS: Final = re.compile(rb"status(?:\x94|q.|r.{4})?(?:\x8c(.)|X(.{4}))", re.DOTALL)
_MSGPACK_STATUS: Final = re.compile(rb"\xa6status([\xa0-\xbf])")
_YAML_STATUS: Final = re.compile(rb"^status: (\w+)$", re.MULTILINE)


class Row(NamedTuple):
    """A record as `celeriac_store` takes it: its lifetime in milliseconds, 0 for ever; its rank in the rule."""

    key: str
    payload: bytes
    px: int
    rank: int


_row: Final[Callable[[tuple[str, bytes, int, int]], Row]] = Row._make
"""As `Row(…)`, in half of the time."""


def row_of(record: ResultRecord, prefix: str, limit: int) -> Row:
    """Return a record as a row; `prefix` is what keys begin with, `limit` the most bytes of a payload, 0 for no limit.

    Raises: EncodeError: it is larger; says which task, how large, and the bound.
    """
    payload = record.payload
    most = min(limit or MOST_BYTES, MOST_BYTES)
    if len(payload) > most:
        raise EncodeError(
            f"The result of task {record.id} has {len(payload)} bytes; this store takes at most {most}. Return a"
            " reference to where it is kept instead, or raise `result_max_bytes` in `result_backend_transport_options`."
        )
    if not _says_it_all(record):
        header = {"state": record.state, "type": record.content_type, "encoding": record.content_encoding}
        payload = b"%s%s\n%s" % (_MARK, json.dumps(header, separators=(",", ":")).encode(), payload)
    lifetime = record.expires_seconds
    px = 0 if lifetime is None else max(1, round(lifetime * 1000))
    return _row((key_of(record.id, prefix), payload, px, _RANKS.get(record.state, 0)))


def key_of(id_: str, prefix: str) -> str:
    """Return the key of a record; `prefix` is what those of tasks begin with. A saved group has one of its own kind."""
    return prefix[: -len(KEY_PREFIX)] + id_ if id_.startswith(GROUP_PREFIX) else prefix + id_


def record_of(id_: str, raw: bytes) -> ResultRecord | None:
    """Return the record that lies under a key; None if it is not one, so that nobody takes it for a result."""
    if raw.startswith(_MARK):
        line, _, payload = raw[len(_MARK) :].partition(b"\n")
        header = json.loads(line)
        return ResultRecord(
            id=id_,
            state=header["state"],
            payload=payload,
            content_type=header["type"],
            content_encoding=header["encoding"],
        )
    kind = _kind(raw)
    state = _state(raw, kind)
    if state is None:
        if not id_.startswith(GROUP_PREFIX):
            return None
        state = SAVED  # as Celery writes it: without
    content_type, content_encoding = kind
    return ResultRecord(id=id_, state=state, payload=raw, content_type=content_type, content_encoding=content_encoding)


def _says_it_all(record: ResultRecord) -> bool:
    """Whether a reader finds state and content type in the payload itself."""
    payload, state = record.payload, record.state
    if record.content_type == "application/json" and payload.startswith(_HEADS.get(state, ())):
        return record.content_encoding == "utf-8"
    kind = (record.content_type, record.content_encoding)
    if kind == _JSON:
        found = _JSON_HEAD.match(payload)
        if found is not None:
            return found[1] == state.encode()
    return not payload.startswith(_MARK) and _kind(payload) == kind and _state(payload, kind) == state


def _kind(raw: bytes) -> tuple[str, str]:
    """Tell by its first bytes which of Celery's serializers wrote a document."""
    first = raw[:1]
    if first == b"{" or _JSON_HEAD.match(raw):
        return _JSON
    if first == b"\x80" and raw[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return _PICKLE
    if first and (0x80 <= first[0] <= 0x8F or first[0] in (0xDE, 0xDF)):
        return _MSGPACK
    return _YAML


def _state(raw: bytes, kind: tuple[str, str]) -> str | None:
    """Find the state in a document without decoding it; None if it has none."""
    if kind == _JSON:
        found = _JSON_HEAD.match(raw)
        return _status(raw) if found is None else found[1].decode(errors="replace")
    if kind == _YAML:
        found = _YAML_STATUS.search(raw)
        return None if found is None else found[1].decode()
    found = (_PICKLE_STATUS if kind == _PICKLE else _MSGPACK_STATUS).search(raw, 0, 128)
    if found is None:
        return None
    length = int.from_bytes(found[found.lastindex or 1], "little") & (0x1F if kind == _MSGPACK else -1)
    return raw[found.end() : found.end() + length].decode(errors="replace")


def _status(raw: bytes) -> str | None:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    state = document.get("status") if isinstance(document, dict) else None
    return state if isinstance(state, str) else None
