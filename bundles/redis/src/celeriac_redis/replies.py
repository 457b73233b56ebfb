"""What a server's error replies and a broken connection mean, in Celeriac's terms.

The one place where they are translated. What may be tried again on another connection is a `LinkLost`, which every
service declares among its driver's errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import redis.exceptions

from celeriac.errors import ReadOnlyStore, StoreError, StoreFull

__all__ = ["LinkLost", "NoReply", "NotSent", "Refused", "code_of", "connecting_error", "reply_error"]


class LinkLost(ConnectionError):
    """The connection is gone or of no use; whether the last call took effect is not known."""


class Refused(LinkLost):
    """The server does not take us for somebody it serves.

    For who connects for the first time that is a mistake in the settings. Later on it is an outage like any other:
    passwords and certificates are changed on one side first.
    """


class NoReply(Exception):
    """No reply has arrived yet."""


class NotSent(Exception):
    """The deadline passed before anything was sent."""


_CODE: Final = re.compile(r"^([A-Z][A-Z0-9]+) |(?:^|[\s:])-([A-Z][A-Z0-9]+) ")
_LOST: Final[Mapping[str, str]] = {
    "READONLY": "the server is a read-only replica; name the primary, or the sentinels that know it",
    "LOADING": "the server is still loading its data",
    "MASTERDOWN": "the replica has lost its primary",
    "CLUSTERDOWN": "the cluster does not serve all slots",
    "TRYAGAIN": "the slot is being moved to another node",
    "BUSY": "the server is busy with a script of somebody",
    "UNBLOCKED": "the primary became a replica",
    "MOVED": "the slots of the cluster were moved around",
    "ASK": "the slots of the cluster were moved around",
}
_FIXES: Final[Mapping[str, str]] = {
    "NOAUTH": "Put user and password into the URL: redis://user:password@host:6379/0.",
    "WRONGPASS": "Correct user and password in the URL, or what `credential_provider` returns.",
    "NOPERM": "Give this user the right to it (ACL SETUSER); the page about Redis lists what Celeriac needs.",
    "DENIED": "Set a password on the server (requirepass) or connect from its own machine.",
}


def code_of(error: BaseException) -> str:
    """Return the first word of an error reply, or of the one that a script ran into; empty if it has none."""
    found = _CODE.search(str(error))
    if found is None:
        return ""
    first: str = found[1] or found[2]
    if first == "ERR":
        # Servers before Redis 7 put a command's error behind their own: "ERR Error running script …: -OOM command …".
        inner = re.search(r": -([A-Z][A-Z0-9]+) ", str(error))
        return inner[1] if inner else first
    return first


def reply_error(error: BaseException, what: str, label: str) -> Exception:
    """Translate an error reply to `what`, a command and its first key, from the store shown as `label`."""
    code, text = code_of(error), str(error)
    if code in _LOST:
        return LinkLost(f"{_LOST[code]} ({text})")
    if code == "OOM":
        return StoreFull(
            f"No room in {label} for {what}: the server has reached its `maxmemory`; nothing was stored."
            " Raise maxmemory, or take away what fills it (results: a shorter `result_expires`)."
        )
    if code in ("MISCONF", "NOREPLICAS"):
        return ReadOnlyStore(f"{label} takes no writes at the moment, so {what} did nothing: {text}")
    if code in _FIXES:
        kind = StoreError if code == "NOPERM" else Refused
        return kind(f"{label} refuses {what}: {text} {_FIXES[code]}")
    if code == "WRONGTYPE":
        return StoreError(
            f"{label}: {what} found data of another kind. Something else uses this key; choose another database,"
            " another queue name or a `global_keyprefix`."
        )
    return StoreError(f"{label} at {what}: {text}")


def connecting_error(error: BaseException, label: str, *, retry: bool) -> Exception:
    """Translate what redis-py raised while connecting.

    `retry` says that another attempt may go better although the server refused: credentials rotate.
    """
    text = str(error)
    cause = error.__context__ or error
    if "CERTIFICATE_VERIFY_FAILED" in text or "CERTIFICATE_VERIFY_FAILED" in str(cause):
        return Refused(
            f"{label} shows a certificate that is not trusted: {text}"
            " Name the authority's file in `ssl_ca_certs`, or correct the host name."
        )
    refused = isinstance(error, redis.exceptions.AuthenticationError) or code_of(error) in _FIXES
    if refused and not retry:
        fix = _FIXES.get(code_of(error), _FIXES["NOAUTH" if "required" in text else "WRONGPASS"])
        return Refused(f"{label} refuses the connection: {text} {fix}")
    if isinstance(error, redis.exceptions.ResponseError) and not refused and code_of(error) not in _LOST:
        return Refused(f"{label} refuses the connection: {text}")
    return LinkLost(f"cannot connect: {text or type(error).__name__}")
