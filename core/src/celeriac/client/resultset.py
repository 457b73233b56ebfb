"""Several results as one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from celeriac.client.context import may_join
from celeriac.client.result import JOIN_IN_TASK, AsyncResult
from celeriac.client.state import get_current_app
from celeriac.errors import TimeoutError as ResultTimeout

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

__all__ = ["ResultSet"]

R = TypeVar("R")


class ResultSet(Generic[R]):
    """Results of several tasks, in the order they were added, each id once."""

    def __init__(self, results: Iterable[AsyncResult[R]] = (), *, app: Celeriac | None = None) -> None:
        self._app = app
        self.results: list[AsyncResult[R]] = []
        self.update(results)

    @property
    def app(self) -> Celeriac:
        """The app whose result store is asked."""
        return self._app or (self.results[0].app if self.results else get_current_app())

    def add(self, result: AsyncResult[R]) -> None:
        """Add a result that is not in it yet."""
        if result not in self.results:
            self.results.append(result)

    def update(self, results: Iterable[AsyncResult[R]]) -> None:
        """Add several."""
        known = set(self.results)
        for result in results:
            if result not in known:
                known.add(result)
                self.results.append(result)

    def remove(self, result: AsyncResult[R] | str) -> None:
        """Remove a result, or its id; KeyError if it is not in the set."""
        try:
            self.results.remove(result)  # type: ignore[arg-type]  # an id equals its result
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: AsyncResult[R] | str) -> None:
        """Remove a result, if it is in the set."""
        if result in self.results:
            self.remove(result)

    def clear(self) -> None:
        """Remove all."""
        self.results.clear()

    # -- states, each with one question to the store -----------------------------------------------

    def _refresh(self) -> None:
        """Read what is not known to be ready, all at once."""
        unknown = {each.id: each for each in self._leaves if each.pending}
        for task_id, record in (self.app.waiter.read(list(unknown)) if unknown else {}).items():
            unknown[task_id].keep(record)

    @property
    def _leaves(self) -> list[AsyncResult[Any]]:
        """The results of tasks, those of groups among the members resolved."""
        leaves: list[AsyncResult[Any]] = []
        for member in cast("list[Any]", self.results):
            leaves += member._leaves if member.is_group else [member]
        return leaves

    def _ready(self) -> list[AsyncResult[Any]]:
        self._refresh()
        return [each for each in self._leaves if not each.pending]

    def ready(self) -> bool:
        """Whether all have ended."""
        return len(self._ready()) == len(self._leaves)

    def waiting(self) -> bool:
        """Whether any has not ended."""
        return not self.ready()

    def successful(self) -> bool:
        """Whether all have returned."""
        return sum(each.successful() for each in self._ready()) == len(self._leaves)

    def failed(self) -> bool:
        """Whether any has raised."""
        return any(each.failed() for each in self._ready())

    def completed_count(self) -> int:
        """How many of the members have returned; one that is a group has if all of it has."""
        done = {each.id for each in self._ready() if each.successful()}
        members = cast("list[Any]", self.results)
        return sum(done.issuperset(leaf.id for leaf in (each._leaves if each.is_group else [each])) for each in members)

    def maybe_throw(self, propagate: bool = True) -> None:
        """Raise what a task that has ended raised, the first of them in order; nothing without `propagate`."""
        for each in self._ready():
            each.maybe_throw(propagate)

    def throw(self) -> None:
        """Raise what a task raised, if one that has ended did."""
        self.maybe_throw()

    # -- waiting -----------------------------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        callback: Callable[[str, R], Any] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> list[R]:
        """Wait for all, and return their values in the order of the set, within `timeout` seconds in all.

        Raises: with `propagate`, what a task raised, as soon as one has. Else as `AsyncResult.get`.
        """
        waited = {each.id: each for each in self.results if each.pending}
        if waited and disable_sync_subtasks and not may_join():
            raise RuntimeError(JOIN_IN_TASK)
        if propagate:
            for each in self.results:
                if not each.pending:
                    each.throw()
        for record in self.app.waiter.wait(list(waited), timeout) if waited else ():
            waited[record.id].keep(record)
            if propagate:
                waited[record.id].throw()
        return [each.get(propagate=propagate, callback=callback) for each in self.results]

    join = get

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> list[R]:
        """Wait without blocking the event loop; otherwise like `get`."""
        import asyncio  # noqa: PLC0415  60 ms that programs without asyncio do not pay

        try:
            async with asyncio.timeout(timeout):
                return [await each.aget(propagate=propagate) for each in self.results]
        except TimeoutError as error:
            if isinstance(error, ResultTimeout):
                raise  # a task's own
            raise ResultTimeout(f"Not all of {len(self.results)} tasks ended within {timeout:g} s.") from None

    def __await__(self) -> Generator[Any, None, list[R]]:
        return self.aget().__await__()

    # -- acting on all -----------------------------------------------------------------------------

    def forget(self) -> None:
        """Drop the records of all from the store."""
        for each in self.results:
            each.forget()

    def revoke(self) -> None:
        """Have workers drop those that have not started."""
        self.app.revoke([each.id for each in self._leaves])

    # -- as a collection ---------------------------------------------------------------------------

    def __iter__(self) -> Iterator[AsyncResult[R]]:
        return iter(self.results)

    def __getitem__(self, index: int) -> AsyncResult[R]:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __eq__(self, other: object) -> bool:
        return other.results == self.results if isinstance(other, ResultSet) else NotImplemented

    __hash__: None = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"<ResultSet of {len(self.results)}>"
