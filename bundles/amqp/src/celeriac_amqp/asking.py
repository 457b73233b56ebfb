"""Declaring and binding: the rare requests, what the server may refuse of them, and what to do then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import monotonic
from typing import Any, Final, TypeVar

from amqp.exceptions import AMQPError

from celeriac_amqp.failures import ChannelClosed
from celeriac_amqp.link import Link

__all__ = ["ACCESS_REFUSED", "NOT_FOUND", "PRECONDITION_FAILED", "Asking", "Step"]

T = TypeVar("T")
Step = tuple[str, Mapping[str, Any]]
"""The name of a method of py-amqp's channel, and its arguments."""

ACCESS_REFUSED: Final = 403
NOT_FOUND: Final = 404
RESOURCE_LOCKED: Final = 405
PRECONDITION_FAILED: Final = 406


class Asking:
    """Asks over one link. A refusal is a `ChannelClosed` with the server's code and words."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def run(self, function: Callable[[Any], T], timeout: float) -> T:
        """Return `function(channel)`. Raises: ChannelClosed, LinkLost, DeadlineExceeded."""
        try:
            return self._link.rare(function, timeout=max(timeout, 0.0))
        except AMQPError as error:
            raise ChannelClosed(error.reply_code or error.code or 0, error.reply_text or str(error)) from error

    def each(self, steps: Iterable[Step], timeout: float) -> None:
        """Carry out steps that may have been carried out before.

        What exists with other properties is left as it is. A user without the right to declare gets by where
        everything exists.

        Raises: ChannelClosed: something does not exist, and this user may not make it.
        """
        end = monotonic() + timeout
        left = list(steps)
        while left:
            done: list[Step] = []
            try:
                self.run(partial(_carry_out, left, done), end - monotonic())
            except ChannelClosed as error:
                if error.code not in (ACCESS_REFUSED, PRECONDITION_FAILED):
                    raise
                self._check(left[len(done)], error, end)
                done.append(left[len(done)])
            left = left[len(done) :]

    def _check(self, step: Step, error: ChannelClosed, end: float) -> None:
        """See whether what was refused is there already; of bindings nobody can tell."""
        method, arguments = step
        if not method.endswith("_declare"):
            return
        try:
            self.run(lambda channel: getattr(channel, method)(**{**arguments, "passive": True}), end - monotonic())
        except ChannelClosed as missing:
            raise error from missing


def _carry_out(steps: list[Step], done: list[Step], channel: Any) -> None:
    for step in steps:
        method, arguments = step
        getattr(channel, method)(**arguments)
        done.append(step)
