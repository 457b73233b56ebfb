"""What a server must be like before anything is entrusted to it."""

from __future__ import annotations

from typing import Any, Final

from celeriac.errors import ConfigurationError
from celeriac_redis.location import Location
from celeriac_redis.replies import LinkLost, code_of, reply_error
from celeriac_redis.wire import pack

__all__ = ["COUNT", "QUESTIONS", "check"]

QUESTIONS: Final = pack(("INFO", "server")) + pack(("INFO", "memory"))
COUNT: Final = 2
_OLDEST: Final = (6, 2)


def check(replies: list[Any], location: Location) -> None:
    """Look at the answers to `QUESTIONS`. Where the user may not ask, nothing is said.

    Raises: ConfigurationError: the server is too old, or drops data when its memory is full.
    """
    told: dict[str, str] = {}
    for reply in replies:
        if isinstance(reply, bytes):
            told.update(_fields(reply))
        elif code_of(reply) != "NOPERM":
            _refused(reply, location)
    version = told.get("redis_version", "")
    if version and _numbers(version) < _OLDEST:
        raise ConfigurationError(f"{location.label} is Redis {version}; Celeriac needs 6.2 or newer, or Valkey.")
    policy = told.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and told.get("maxmemory", "0") != "0" and not location.eviction_allowed:
        raise ConfigurationError(
            f"{location.label} drops keys when its memory is full (maxmemory-policy {policy}): it would lose tasks and"
            " results. Run: redis-cli CONFIG SET maxmemory-policy noeviction, and put it into redis.conf."
            " If you accept the loss, set the option `allow_eviction`."
        )


def _refused(reply: BaseException, location: Location) -> None:
    error = reply_error(reply, "INFO", location.label)
    if isinstance(error, LinkLost):
        raise error


def _fields(text: bytes) -> dict[str, str]:
    lines = text.decode(errors="replace").splitlines()
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
