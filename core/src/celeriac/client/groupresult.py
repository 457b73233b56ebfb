"""The results of a group, as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from celeriac.client.result import AsyncResult
from celeriac.client.resultset import ResultSet

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

__all__ = ["GroupResult"]

R = TypeVar("R")


class GroupResult(ResultSet[R]):
    """The results of a group's members, in their order; `parent` is the result of what ran before the group."""

    def __init__(
        self,
        id: str,  # noqa: A002  the field's name for it
        results: Iterable[Any] = (),
        *,
        parent: AsyncResult[Any] | GroupResult[Any] | None = None,
        app: Celeriac | None = None,
    ) -> None:
        super().__init__(results, app=app)
        self.id = id
        self.parent = parent

    @property
    def children(self) -> list[AsyncResult[R]]:
        """The results of the members."""
        return self.results

    @property
    def _leaves(self) -> list[AsyncResult[Any]]:
        """The results of tasks, those of groups among the members resolved."""
        leaves: list[AsyncResult[Any]] = []
        for member in cast("list[Any]", self.results):
            leaves += member._leaves if isinstance(member, GroupResult) else [member]
        return leaves

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        callback: Callable[[str, Any], Any] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> list[Any]:
        """Wait for all, and return their values in the order of the members; see `ResultSet.get`."""
        leaves: ResultSet[Any] = ResultSet(app=self._app)
        leaves.results = self._leaves
        values = iter(leaves.get(timeout, propagate, callback=callback, disable_sync_subtasks=disable_sync_subtasks))
        return self._shaped(values)

    join = get

    def _shaped(self, values: Iterator[Any]) -> list[Any]:
        members = cast("list[Any]", self.results)
        return [member._shaped(values) if isinstance(member, GroupResult) else next(values) for member in members]

    def as_tuple(self) -> tuple[Any, Any]:
        """Return the form in which result documents list it."""
        parent = self.parent.as_tuple() if self.parent is not None else None
        return (self.id, parent), [member.as_tuple() for member in self.results]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return other == self.id
        return other.id == self.id if isinstance(other, GroupResult) else NotImplemented

    def __hash__(self) -> int:  # type: ignore[override]  # a set of results changes, and a group's id does not
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<GroupResult {self.id} of {len(self.results)}>"
