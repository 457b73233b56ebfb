"""The link to a store: commands, pipelines and scripts, each one round trip with a deadline.

The only module that transport, result store and coordinator talk through.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, ClassVar

import hiredis

from celeriac.errors import ConfigurationError, DeadlineExceeded
from celeriac_redis import checks
from celeriac_redis.dialing import Dialler
from celeriac_redis.location import Location
from celeriac_redis.replies import LinkLost, NotSent, Refused, code_of, reply_error
from celeriac_redis.routing import Routing, SlotRouting, StraightRouting
from celeriac_redis.wire import Argument, Wire, pack
from celeriac_redis.wires import Wires

__all__ = ["Link", "LinkLost", "Script"]


class Script:
    """A Lua script, sent in full only to a server that does not have it."""

    __slots__ = ("name", "sha", "source")

    def __init__(self, name: str, source: str) -> None:
        self.name: str = name
        self.source: bytes = source.encode()
        self.sha: bytes = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()

    def __repr__(self) -> str:
        return f"Script({self.name!r})"


class Link:
    """A link to one store, for any thread and, after a fork, any process.

    Every method raises, beside what its own text says:

    * `DeadlineExceeded`: nothing was sent within the time-out.
    * `LinkLost`: there is no connection, or it broke, or no answer came in time: it is not known what took effect.
    * `StoreFull`, `ReadOnlyStore`: the server refused a write; of a script or a transaction nothing took effect.
    * `StoreError`: the server refused for another reason, which the text tells.

    Replies are as hiredis gives them: bytes, int, None, lists of these.
    """

    driver_errors: ClassVar[tuple[type[BaseException], ...]] = (LinkLost,)
    """For `Service.driver_errors`."""

    def __init__(self, location: Location, *, label: str = "") -> None:
        self.location: Location = location
        self.label: str = label or location.label
        self._routing: Routing
        dialler = Dialler(location)
        if location.kind == "cluster":
            self._routing = SlotRouting(dialler)
        else:
            self._routing = StraightRouting(Wires(dialler))

    @property
    def is_cluster(self) -> bool:
        """Whether keys of one script, transaction or command must share a slot."""
        return self.location.kind == "cluster"

    def open(self, timeout: float) -> None:
        """Connect, and refuse a server that is too old or may drop what it was given.

        Raises: ConfigurationError: it is, or it refuses this user; says why, and the fix.
        """
        end = monotonic() + timeout
        try:
            for wires in self._routing.everywhere(end):
                checks.check(wires.call(checks.QUESTIONS, checks.COUNT, end), self.location)
        except NotSent:
            raise DeadlineExceeded(f"{self.label} at connecting", timeout) from None
        except Refused as error:
            raise ConfigurationError(str(error)) from error

    def close(self) -> None:
        """Close every connection; calls under way fail."""
        self._routing.close()

    def run(self, *command: Argument, timeout: float) -> Any:
        """Run one command and return its reply."""
        key = command[1] if len(command) > 1 else None
        (reply,) = self._exchange([pack(command)], [key], timeout)
        if reply.__class__ is hiredis.ReplyError:
            raise self._error(reply, _name(command))
        return reply

    def pipeline(
        self,
        commands: Sequence[tuple[Argument, ...]],
        *,
        timeout: float,
        transaction: bool = False,
        raise_errors: bool = True,
    ) -> list[Any]:
        """Run commands in one round trip and return their replies.

        With `transaction` all take effect at once, or none; in a cluster their keys must share a slot. Without
        `raise_errors` an error reply stands in the list as the exception that it means; else the first is raised, and
        the other commands may have taken effect.
        """
        if not commands:
            return []
        if transaction:
            return self._transaction(commands, timeout)
        packed = [pack(command) for command in commands]
        replies = self._exchange(packed, [command[1] if len(command) > 1 else None for command in commands], timeout)
        return self._checked(replies, lambda index: _name(commands[index]), raise_errors)

    def script(self, script: Script, keys: Sequence[Argument], args: Sequence[Argument], *, timeout: float) -> Any:
        """Run a script, atomically; in a cluster its keys must share a slot."""
        end = monotonic() + timeout
        (reply,) = self._exchange(
            [pack((b"EVALSHA", script.sha, len(keys), *keys, *args))], [keys[0] if keys else None], timeout
        )
        if reply.__class__ is hiredis.ReplyError:
            if code_of(reply) != "NOSCRIPT":
                raise self._error(reply, _script_name(script, keys))
            (reply,) = self._loaded(script, [(keys, args)], end)
            if reply.__class__ is hiredis.ReplyError:
                raise self._error(reply, _script_name(script, keys))
        return reply

    def scripts(
        self, script: Script, calls: Sequence[tuple[Sequence[Argument], Sequence[Argument]]], *, timeout: float
    ) -> list[Any]:
        """Run a script several times, with these keys and arguments, in one round trip; each run is atomic."""
        if not calls:
            return []
        end = monotonic() + timeout
        packed = [pack((b"EVALSHA", script.sha, len(keys), *keys, *args)) for keys, args in calls]
        replies = self._exchange(packed, [keys[0] if keys else None for keys, _ in calls], timeout)
        unknown = [index for index, reply in enumerate(replies) if _is(reply, "NOSCRIPT")]
        if unknown:
            again = self._loaded(script, [calls[index] for index in unknown], end)
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        return self._checked(replies, lambda index: _script_name(script, calls[index][0]))

    def connection(self, key: Argument | None = None, *, timeout: float) -> Wire:
        """Return a connection of its own, for blocking use; `Wire.close` gives it back.

        In a cluster it is one to the node of `key`. Closing the link hangs it up.
        """
        end = monotonic() + timeout
        try:
            return self._routing.at(key, end).apart(end)
        except NotSent:
            raise DeadlineExceeded(f"{self.label} at connecting", timeout) from None

    # -- how ---------------------------------------------------------------------------------------------

    def _exchange(self, packed: list[bytes], keys: Sequence[Argument | None], timeout: float) -> list[Any]:
        end = monotonic() + timeout
        try:
            return self._routing.exchange(packed, keys, end)
        except NotSent:
            raise DeadlineExceeded(self.label, timeout) from None

    def _loaded(self, script: Script, calls: Any, end: float) -> list[Any]:
        """Run a script with its source, which makes the server know it."""
        packed = [pack((b"EVAL", script.source, len(keys), *keys, *args)) for keys, args in calls]
        return self._exchange(packed, [keys[0] if keys else None for keys, _ in calls], end - monotonic())

    def _transaction(self, commands: Sequence[tuple[Argument, ...]], timeout: float) -> list[Any]:
        packed = b"".join([pack((b"MULTI",)), *[pack(command) for command in commands], pack((b"EXEC",))])
        key = commands[0][1] if len(commands[0]) > 1 else None
        end = monotonic() + timeout
        try:
            replies = self._routing.at(key, end).call(packed, len(commands) + 2, end)
        except NotSent:
            raise DeadlineExceeded(self.label, timeout) from None
        # A command that cannot be queued makes EXEC refuse all; its own error tells more.
        self._checked(replies[1:-1], lambda index: _name(commands[index]))
        if replies[-1].__class__ is hiredis.ReplyError:
            raise self._error(replies[-1], "EXEC")
        return self._checked(replies[-1], lambda index: _name(commands[index]))

    def _checked(self, replies: list[Any], name: Callable[[int], str], raise_errors: bool = True) -> list[Any]:
        for index, reply in enumerate(replies):
            if reply.__class__ is hiredis.ReplyError:
                error = self._error(reply, name(index))
                if raise_errors:
                    raise error
                replies[index] = error
        return replies

    def _error(self, reply: BaseException, what: str) -> Exception:
        error = reply_error(reply, what, self.label)
        if isinstance(error, LinkLost):
            # Each idle connection leads to the same server, which is of no use any more.
            self._routing.forget()
        return error


def _is(reply: Any, code: str) -> bool:
    return reply.__class__ is hiredis.ReplyError and code_of(reply) == code


def _name(command: tuple[Argument, ...]) -> str:
    return " ".join(_shown(word) for word in command[:2])


def _script_name(script: Script, keys: Sequence[Argument]) -> str:
    return f"{script.name} {_shown(keys[0])}" if keys else script.name


def _shown(word: Argument) -> str:
    return word.decode(errors="replace") if isinstance(word, bytes) else str(word)
