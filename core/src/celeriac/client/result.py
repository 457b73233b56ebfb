"""The result of a task that was published: its state, its value, and waiting for it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from celeriac.client.context import may_join
from celeriac.client.resulttree import ResultTree
from celeriac.client.state import get_current_app
from celeriac.errors import TimeoutError as ResultTimeout
from celeriac.errors import Unsupported
from celeriac.model.document import result_value
from celeriac.model.record import FAILURE, PENDING, PROPAGATE_STATES, READY_STATES, SUCCESS, ResultRecord

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.groupresult import GroupResult

__all__ = ["AsyncResult", "result_from_tuple"]

R = TypeVar("R")

JOIN_IN_TASK = (
    "Waiting for a result inside a task holds its slot: when every slot waits, all wait for ever. Continue in a"
    " callback instead (`link`, or a chain), or, where that cannot happen, wait inside"
    " `with celeriac.allow_join_result():`."
)


class AsyncResult(ResultTree, Generic[R]):
    """The result of one task, by its id. Two are equal if their ids are.

    `get()` waits; `await result` does in a coroutine. Everything else asks the result store once and never waits;
    what is ready is not asked for again.
    """

    is_group: ClassVar[bool] = False
    """Whether it is that of a group."""
    ignored = False
    """Whether it was published with `ignore_result`: nothing will ever be stored."""

    def __init__(
        self,
        id: str,  # noqa: A002  the field's name for it
        *,
        app: Celeriac | None = None,
        task_name: str | None = None,
        parent: AsyncResult[Any] | GroupResult[Any] | None = None,
    ) -> None:
        if not id:
            raise ValueError(f"AsyncResult needs the id of a task, not {id!r}.")
        self.id = id
        self.parent = parent
        self._app = app
        self._name = task_name
        self._ready: Mapping[str, Any] | None = None

    @property
    def app(self) -> Celeriac:
        """The app whose result store is asked."""
        return self._app if self._app is not None else get_current_app()

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self.id

    # -- reading -----------------------------------------------------------------------------------

    def _document(self) -> Mapping[str, Any]:
        """Return the stored document; an empty one where there is none."""
        if self._ready is not None:
            return self._ready
        if self.ignored:
            return {}
        record = self.app.waiter.read([self.id]).get(self.id)
        return {} if record is None else self._read(record)

    def _read(self, record: ResultRecord) -> Mapping[str, Any]:
        conf = self.app.conf
        accept = conf.accept_content if conf.result_accept_content is None else conf.result_accept_content
        document: Mapping[str, Any] = self.app.codecs.loads(
            record.payload, record.content_type, record.content_encoding, accept=accept
        )
        if record.ready:
            self._ready = document
        return document

    @property
    def pending(self) -> bool:
        """Whether it is not known yet that the task has ended, and it can become known. Asks nobody."""
        return self._ready is None and not self.ignored

    def keep(self, record: ResultRecord) -> None:
        """Take over a record that somebody else read."""
        self._read(record)

    @property
    def state(self) -> str:
        """The state; PENDING where the store knows nothing of it."""
        return str(self._document().get("status", PENDING))

    status = state

    @property
    def result(self) -> Any:
        """The returned value, the exception instance, or the data of a state of your own; None where unknown."""
        document = self._document()
        return result_value(document) if document else None

    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback as text, where the task raised."""
        return self._document().get("traceback")

    @property
    def children(self) -> list[Any]:
        """The results of the tasks and workflows that it started and that followed it; known once it has ended."""
        return [result_from_tuple(child, self.app) for child in self._document().get("children") or ()]

    @property
    def parent_id(self) -> str | None:
        """The id of the task that this one came from, as its record says."""
        return self._document().get("parent_id")

    @property
    def date_done(self) -> datetime | None:
        """When it ended; aware."""
        text = self._document().get("date_done")
        return datetime.fromisoformat(text) if isinstance(text, str) else text

    @property
    def name(self) -> str | None:
        """The task's name, as its caller knows it or as `result_extended` stores it."""
        return self._name or self._document().get("name")

    @property
    def args(self) -> Any:
        """The arguments, where `result_extended` stores them."""
        return self._document().get("args")

    @property
    def kwargs(self) -> Any:
        """The keyword arguments, where `result_extended` stores them."""
        return self._document().get("kwargs")

    @property
    def worker(self) -> str | None:
        """Which worker ran it, where `result_extended` stores it."""
        return self._document().get("worker")

    @property
    def retries(self) -> int | None:
        """How often it was retried, where `result_extended` stores it."""
        return self._document().get("retries")

    @property
    def queue(self) -> str | None:
        """The queue it came from, where `result_extended` stores it."""
        return self._document().get("queue")

    def ready(self) -> bool:
        """Whether the task has ended."""
        return self.state in READY_STATES

    def successful(self) -> bool:
        """Whether it returned."""
        return self.state == SUCCESS

    def failed(self) -> bool:
        """Whether it raised."""
        return self.state == FAILURE

    def exists(self) -> bool:
        """Whether the store knows anything of it; a task that merely waits is not known to it either."""
        return bool(self._document())

    def maybe_throw(self, propagate: bool = True) -> Any:
        """Raise what the task raised; else return its value."""
        document = self._document()
        value = result_value(document) if document else None
        if propagate and document.get("status") in PROPAGATE_STATES:
            raise _raisable(value, document)
        return value

    def throw(self) -> None:
        """Raise what the task raised, if it did."""
        self.maybe_throw()

    # -- waiting -----------------------------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        callback: Callable[[str, R], Any] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """Wait until the task has ended, and return what it returned.

        Args:
            timeout: Seconds to wait at most; None waits for ever.
            propagate: Raise what the task raised; else return the exception.
            callback: Called with the id and the value, before the value is returned.
            disable_sync_subtasks: False allows waiting inside a task, at the risk that `allow_join_result` describes.

        Raises: TimeoutError: not in time; the task goes on. RuntimeError: called inside a task. What the task raised;
        a RemoteError that tells the same where its type is not imported here. TaskRevokedError: it was revoked.
        """
        if self.pending:
            if disable_sync_subtasks and not may_join():
                raise RuntimeError(JOIN_IN_TASK)
            for record in self.app.waiter.wait([self.id], timeout):
                self._read(record)
        value: R = self.maybe_throw(propagate)
        if callback is not None:
            callback(self.id, value)
        return value

    wait = get

    async def aget(self, timeout: float | None = None, propagate: bool = True) -> R:
        """Wait without blocking the event loop; otherwise like `get`."""
        if self.pending:
            if not may_join():
                raise RuntimeError(JOIN_IN_TASK)
            self._read(await self._arrival(timeout))
        value: R = self.maybe_throw(propagate)
        return value

    async def _arrival(self, timeout: float | None) -> ResultRecord:
        import asyncio  # noqa: PLC0415  60 ms that programs without asyncio do not pay

        loop = asyncio.get_running_loop()
        future: asyncio.Future[ResultRecord] = loop.create_future()

        def settle(item: ResultRecord | BaseException) -> None:
            if future.done():
                return
            if isinstance(item, BaseException):
                future.set_exception(item)
            else:
                future.set_result(item)

        def arrived(item: ResultRecord | BaseException) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, item)

        waiter = self.app.waiter
        await asyncio.to_thread(waiter.subscribe, [self.id], arrived)
        try:
            return await asyncio.wait_for(future, timeout)
        except TimeoutError:
            raise ResultTimeout(f"No result of task {self.id} within {timeout:g} s. It may still come.") from None
        finally:
            waiter.unsubscribe([self.id], arrived)

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    def then(
        self, callback: Callable[[AsyncResult[R]], Any], on_error: Callable[[AsyncResult[R]], Any] | None = None
    ) -> None:
        """Call `callback` with this result when the task has succeeded, `on_error` when it has not.

        It is called in the thread that waits for all results of the app, so it must be quick.
        """

        def arrived(item: ResultRecord | BaseException) -> None:
            if isinstance(item, BaseException):
                return
            self._read(item)
            chosen = callback if item.state == SUCCESS else on_error
            if chosen is not None:
                chosen(self)

        self.app.waiter.subscribe([self.id], arrived)

    # -- acting on it ------------------------------------------------------------------------------

    def forget(self) -> None:
        """Drop the record from the store."""
        self._ready = None
        conf = self.app.conf
        self.app.connections.results().delete([self.id], timeout=conf.result_timeout_seconds)

    def revoke(self, *, terminate: bool = False, signal: str | None = None) -> None:
        """Have workers drop the task when they come to it. One that already runs is not disturbed.

        It is remembered for `task_revoke_expires_seconds`, also by workers that start later.

        Raises: Unsupported: `terminate` or `signal`; or neither broker nor result store has a coordinator.
        """
        if terminate or signal:
            raise Unsupported(
                "ending a task that runs (terminate=True); give it a time_limit, or stop its worker,",
                "Celeriac without a remote control plugin",
            )
        self.app.revoke([self.id])

    # -- as a value --------------------------------------------------------------------------------

    def as_tuple(self) -> tuple[Any, Any]:
        """Return the form in which result documents list it."""
        return (self.id, self.parent.as_tuple() if self.parent is not None else None), None

    def as_list(self) -> list[str]:
        """Return its id and those of its parents."""
        return [self.id, *(self.parent.as_list() if self.parent is not None else [])]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return other == self.id
        return other.id == self.id if isinstance(other, AsyncResult) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.id, self._name, self.parent)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"


def _restore(kind: type[AsyncResult[Any]], task_id: str, name: str | None, parent: Any) -> AsyncResult[Any]:
    return kind(task_id, task_name=name, parent=parent)


def _raisable(value: Any, document: Mapping[str, Any]) -> BaseException:
    """Return the exception, its remote traceback in a note."""
    if not isinstance(value, BaseException):
        return RuntimeError(f"The task ended as {document.get('status')} with {value!r}.")
    text = document.get("traceback")
    if text and not getattr(value, "__notes__", None):
        value.add_note(f"In the worker:\n{text}")
    return value


def result_from_tuple(value: Any, app: Celeriac | None = None) -> AsyncResult[Any] | GroupResult[Any]:
    """Return the result, of a task or of a group, that `as_tuple` wrote."""
    if isinstance(value, ResultTree):
        return value  # type: ignore[return-value]  # there are two of them
    if isinstance(value, str):
        return AsyncResult(value, app=app)
    own, members = value
    own_id, parent = (own, None) if isinstance(own, str) else own
    before = result_from_tuple(parent, app) if parent else None
    if members is None:
        return AsyncResult(own_id, app=app, parent=before)
    from celeriac.client.groupresult import GroupResult  # noqa: PLC0415  it is made of these results

    return GroupResult(own_id, [result_from_tuple(each, app) for each in members], parent=before, app=app)
