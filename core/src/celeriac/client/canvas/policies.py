"""When a join is complete, and whether its body then runs: what the option `join` of chords and groups says.

fail_fast     every member must succeed; the first that fails ends the wait
wait_all      every member must succeed; the failure is told when all have ended
quorum:<n>    n members must succeed; the body is given the values of those that have by then, in order
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from celeriac.model.join import Growth, Part

__all__ = ["FAIL_FAST", "Policy", "policy"]

FAIL_FAST = "fail_fast"
WAIT_ALL = "wait_all"
QUORUM = "quorum:"


class Policy(Struct, frozen=True):
    """One of the three; `needed` is None where every member must succeed."""

    text: str
    needed: int | None = None

    def terms(self, size: int) -> tuple[int, int]:
        """Return how many of `size` members must have succeeded, or failed, for the join to be complete.

        Raises: ValueError: more are needed than there are.
        """
        if self.needed is None:
            return size, 1 if self.text == FAIL_FAST else size + 1
        if self.needed > size:
            raise ValueError(f"join={self.text!r} needs {self.needed} members; the header has {size}.")
        return self.needed, size - self.needed + 1

    def growth(self, join: str, member: str) -> Growth:
        """Return what a join of this policy grows by with one more member."""
        return Growth(
            join=join,
            member=member,
            successes=1 if self.needed is None else 0,
            failures=0 if self.text == FAIL_FAST else 1,
        )

    def succeeded(self, parts: Sequence[Part]) -> list[Part] | None:
        """Return the parts whose values the body is given, or None where it does not run."""
        succeeded = [part for part in parts if part.succeeded]
        enough = len(succeeded) == len(parts) if self.needed is None else len(succeeded) >= self.needed
        return succeeded if enough else None


def policy(text: str | None) -> Policy:
    """Return the policy that the option `join` names; None is the default, `fail_fast`.

    Raises: ValueError: there is no such policy.
    """
    if text in (None, FAIL_FAST, WAIT_ALL):
        return Policy(text or FAIL_FAST)
    number = text.removeprefix(QUORUM) if isinstance(text, str) and text.startswith(QUORUM) else ""
    if not number.isdecimal() or int(number) < 1:
        raise ValueError(f"join must be 'fail_fast', 'wait_all' or 'quorum:<n>' with n of 1 or more, not {text!r}.")
    return Policy(text, int(number))
