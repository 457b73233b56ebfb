"""The results of a group, as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

from celeriac.client.result import AsyncResult, result_from_tuple
from celeriac.client.resultset import ResultSet
from celeriac.client.resulttree import ResultTree
from celeriac.client.state import get_current_app
from celeriac.errors import Unsupported
from celeriac.kernel import plugins
from celeriac.model.record import GROUP_PREFIX, SAVED, ResultRecord

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

__all__ = ["GroupResult"]

R = TypeVar("R")


class GroupResult(ResultSet[R], ResultTree):
    """The results of a group's members, in their order; `parent` is the result of what ran before the group.

    Members that end with a group are GroupResults themselves. The store knows nothing of a group, until it is saved.
    """

    is_group: ClassVar[bool] = True
    """Whether it is that of a group."""

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

    # -- kept in the result store ------------------------------------------------------------------

    def save(self) -> Self:
        """Keep the ids of the members in the result store, as long as a result is kept; return itself.

        Whoever has the group's id can then `restore` it; Celery's clients too, where they share the store.

        Raises: Unsupported: the result store keeps nothing, but sends each result to who asked for it.
        """
        app = self.app
        _check_kept(app)
        document = {"status": SAVED, "result": self.as_tuple()}
        payload, content_type, content_encoding = app.codecs.dumps(document, app.conf.result_serializer)
        record = ResultRecord(
            id=GROUP_PREFIX + self.id,
            state=SAVED,
            payload=payload,
            content_type=content_type,
            content_encoding=content_encoding,
            expires_seconds=app.conf.result_expires or None,
        )
        app.connections.results().put([record], timeout=app.conf.result_timeout_seconds)
        return self

    @classmethod
    def restore(cls, id: str, app: Celeriac | None = None) -> GroupResult[Any] | None:  # noqa: A002  the field's name
        """Return the group of this id that was saved; None if there is none, or no longer.

        Raises: Unsupported: as `save`.
        """
        app = app or get_current_app()
        _check_kept(app)
        record = app.waiter.read([GROUP_PREFIX + id]).get(GROUP_PREFIX + id)
        if record is None:
            return None
        conf = app.conf
        accept = conf.accept_content if conf.result_accept_content is None else conf.result_accept_content
        document = app.codecs.loads(record.payload, record.content_type, record.content_encoding, accept=accept)
        return cast("GroupResult[Any]", result_from_tuple(document["result"], app))

    def delete(self) -> None:
        """Take back `save`. The results of the members stay."""
        conf = self.app.conf
        self.app.connections.results().delete([GROUP_PREFIX + self.id], timeout=conf.result_timeout_seconds)

    # -- as a value --------------------------------------------------------------------------------

    def as_list(self) -> list[str]:
        """Return its id and those of its parents."""
        return [self.id, *(self.parent.as_list() if self.parent is not None else [])]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.id, self.results, self.parent)

    def __bool__(self) -> bool:
        return True

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


def _check_kept(app: Celeriac) -> None:
    if app.connections.replies:
        declared = {info.name: info.declaration for info in plugins.installed("results")}
        able = [name for name, each in declared.items() if each is not None and not each.capabilities.replies]
        store = app.connections.results_address
        raise Unsupported("saved groups", f"The result store {store.scheme if store is not None else ''}", able)


def _restored(group_id: str, results: list[Any], parent: Any) -> GroupResult[Any]:
    return GroupResult(group_id, results, parent=parent)
