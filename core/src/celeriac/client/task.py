"""Tasks: functions, or classes with a `run`, that can be called here, published, and run by workers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar

from celeriac.client.arguments import ArgumentCheck
from celeriac.client.canvas.signing import Signing
from celeriac.client.context import Context, current_context, pop, push
from celeriac.client.options import EXECUTION_OPTIONS, FROM_SETTINGS, check_call_options
from celeriac.client.result import AsyncResult
from celeriac.client.retry import retry, with_autoretry
from celeriac.client.state import get_current_app
from celeriac.errors import ConfigurationError, Retry

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.eager import EagerResult

__all__ = ["AsyncTask", "Task"]

P = ParamSpec("P")
R = TypeVar("R")


class Task(Signing[P, R]):
    """A task: `P` are the parameters of its function, `R` is what it returns.

    Make one with `@app.task`, or subclass and give an instance to `app.register_task`. Handlers (`before_start`,
    `on_success`, `on_retry`, `on_failure`, `after_return`) run where the task runs; what they raise is logged, except
    in `before_start`, where it fails the task.
    """

    name: str = ""
    abstract: ClassVar[bool] = True
    bind: bool = False
    """Whether the function takes the task as its first argument."""
    is_async: bool = False

    typing: bool | None = None
    """Whether calls are checked against the signature; None is the app's `strict_typing`."""
    max_retries: int | None = 3
    """How often `retry` may run it again; None is without bound."""
    default_retry_delay: float = 180.0
    """Seconds until the next run when `retry` is told nothing else."""
    autoretry_for: Iterable[type[BaseException]] = ()
    dont_autoretry_for: Iterable[type[BaseException]] = ()
    retry_kwargs: Mapping[str, Any] | None = None
    retry_backoff: bool | float = False
    """True or a factor in seconds: the delay of automatic retries doubles each time."""
    retry_backoff_max: float = 600.0
    retry_jitter: bool = True
    throws: tuple[type[BaseException], ...] = ()
    """Exceptions that are expected: logged without a traceback."""
    trail: bool = True
    """Whether the results of tasks that it starts are kept as its children."""
    send_events: bool = True
    resultrepr_maxsize: int = 1024
    expires: float | datetime | None = None
    queue: Any = None
    exchange: Any = None
    exchange_type: str | None = None
    routing_key: str | None = None
    delivery_mode: int | str | None = None

    rate_limit: str | float | None
    """Most runs per second (`10`, "10/s"), minute or hour ("100/m", "1000/h"), for each worker."""
    serializer: str
    compression: str | None
    priority: int | None
    time_limit: float | None
    soft_time_limit: float | None
    track_started: bool
    acks_late: bool
    acks_on_failure: bool
    acks_on_timeout: bool
    reject_on_worker_lost: bool
    max_deliveries: int | None
    ignore_result: bool
    store_eager_result: bool
    store_errors_even_if_ignored: bool

    _app: Celeriac | None = None
    _entry: Callable[..., Any] | None = None
    _check: ArgumentCheck | None = None
    origin: str = ""
    """Where it was defined: `module:qualified name`, with the file and line of its function."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # These are taken out of the class, so that reading one reaches __getattr__, where None means the setting.
        declared = {name: cls.__dict__[name] for name in FROM_SETTINGS if name in cls.__dict__}
        for name in declared:
            delattr(cls, name)
        cls._declared = declared
        cls._own = {}
        for ancestor in reversed(cls.__mro__):
            cls._own.update(ancestor.__dict__.get("_declared", {}))
        cls.names_shadows = cls.shadow_name is not Task.shadow_name

    _declared: ClassVar[dict[str, Any]] = {}
    _own: ClassVar[dict[str, Any]] = {}
    names_shadows: ClassVar[bool] = False
    """Whether the class overrides `shadow_name`."""

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work; what the function of a decorated task becomes."""
        raise NotImplementedError(f"{type(self).__name__} must define run().")

    # -- the app -----------------------------------------------------------------------------------

    @property
    def app(self) -> Celeriac:
        """The app it is registered with, else the current one."""
        return self._app if self._app is not None else get_current_app()

    def attach(self, app: Celeriac) -> None:
        """Make it a task of this app. Called when it is registered; reads no setting."""
        self._app = app
        self._entry = None
        self.is_async = inspect.iscoroutinefunction(self.run)
        try:
            self._check = ArgumentCheck(self.run)
        except (TypeError, ValueError):
            self._check = None  # a callable without a signature, such as some built-in functions

    def on_bound(self, app: Celeriac) -> None:
        """Override to do something when the task becomes one of an app."""

    def __getattr__(self, name: str) -> Any:
        """Look up an option that defaults to a setting, and keep it until a setting changes."""
        setting = FROM_SETTINGS.get(name)
        if setting is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = self._own.get(name)
        return getattr(self.app.conf, setting) if value is None else value

    def execution_options(self) -> dict[str, Any]:
        """Return the task's own options for each of its calls; what only settings say is left out."""
        own: dict[str, Any] = {}
        for name in EXECUTION_OPTIONS:
            value = self.__dict__.get(name, self._own.get(name)) if name in FROM_SETTINGS else getattr(self, name)
            if value is not None:
                own[name] = value
        return own

    @property
    def entry(self) -> Callable[..., Any]:
        """What a worker calls: the function with the bound task in front and automatic retries around it."""
        if self._entry is None:
            if self._app is None:
                raise ConfigurationError(f"{self!r} is not registered. Give it to app.register_task().")
            overridden = type(self).__call__ not in (Task.__call__, AsyncTask.__call__)
            called = self._call_overridden if overridden else self.run
            self._entry = with_autoretry(self, called, is_async=self.is_async)
        return self._entry

    def _call_overridden(self, *args: Any, **kwargs: Any) -> Any:
        context = current_context()
        if context is not None:
            context.entering = self
        return self(*args, **kwargs)

    # -- the current run ---------------------------------------------------------------------------

    @property
    def request(self) -> Context:
        """The run this thread or coroutine is in; an empty one outside of tasks."""
        return current_context() or Context()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, as a plain call."""
        outer = current_context()
        if outer is not None and outer.entering is self:
            outer.entering = None
            result: R = self.run(*args, **kwargs)
            return result
        token = push(Context(args=args, kwargs=kwargs) if outer is None else outer.direct(args, kwargs))
        try:
            result = self.run(*args, **kwargs)
        finally:
            pop(token)
        return result

    def retry(  # noqa: PLR0917  the field's signature
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | str | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Run this task again, by default after `default_retry_delay` seconds, and end this run.

        Write `raise self.retry(...)`, so that readers and type checkers see that the function ends there.

        Args:
            args: Other arguments for the next run.
            kwargs: Other keyword arguments for the next run.
            exc: Why; raised if it has been retried too often.
            throw: False returns the Retry instead of raising it; the next run is due all the same.
            eta: When the next run is due, instead of `countdown` seconds from now.
            countdown: Seconds until the next run; 0 is at once.
            max_retries: How often it may be retried, instead of the task's own.
            options: Further options of `apply_async`.

        Raises: Retry: always, unless `throw` is false or there are no retries left.
        """
        return retry(
            self,
            args=args,
            kwargs=kwargs,
            exc=exc,
            throw=throw,
            eta=eta,
            countdown=countdown,
            max_retries=max_retries,
            options=options,
        )

    # -- calling -----------------------------------------------------------------------------------

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Publish a call with these arguments."""
        return self.apply_async(args, kwargs)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Publish a call without blocking the event loop."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[R]:
        """Publish a call with options, without blocking the event loop."""
        import asyncio  # noqa: PLC0415  60 ms that programs without asyncio do not pay

        return await asyncio.to_thread(self.apply_async, args, kwargs, **options)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[R]:
        """Publish a call with options; docs/reference/calling.md lists them.

        Raises: TypeError: the arguments do not fit the function, or an option that there is not. ValueError: an
        option out of range. EncodeError: the arguments cannot be serialized. StoreError: the broker did not accept
        the message; what is known of it is in the kind of error.
        """
        app = self.app
        args = () if args is None else args
        kwargs = {} if kwargs is None else kwargs
        self.check_arguments(args, kwargs)
        if app.conf.task_always_eager:
            check_call_options(options)
            result: AsyncResult[R] = self.apply(args, kwargs, **options)
            return result
        return app.publisher.call(self.name, args, kwargs, self, options)

    def check_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise TypeError if the arguments do not fit the function, where `typing` is on."""
        check = self._check
        if check is None or not (self.app.strict_typing if self.typing is None else self.typing):
            return
        if not isinstance(args, list | tuple) or not isinstance(kwargs, Mapping):
            raise TypeError(
                f"{self.name}: args must be a list or tuple and kwargs a mapping;"
                f" got {type(args).__name__} and {type(kwargs).__name__}."
            )
        check(self.name, args, kwargs)

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool | None = None,
        **options: Any,
    ) -> EagerResult[R]:
        """Run here and now as a worker would: arguments through the serializer, handlers, retries, links.

        `throw` raises what the task raises (default: the setting `task_eager_propagates`).
        """
        from celeriac.client.eager import apply  # noqa: PLC0415  it brings the worker's executor with it

        return apply(self, args or (), kwargs or {}, throw=throw, options=options)

    # -- results -------------------------------------------------------------------------------

    def AsyncResult(self, task_id: str) -> AsyncResult[R]:  # noqa: N802  the field's name for it
        """Return the result of a call by its id."""
        return AsyncResult(task_id, app=self.app, task_name=self.name)

    def update_state(self, task_id: str | None = None, *, state: str = "PENDING", meta: Any = None) -> None:
        """Store a state of your own for this run, with data that `AsyncResult.info` returns.

        Raises: ConfigurationError: results are not kept, or there is no run. EncodeError: `meta` cannot be stored.
        """
        request = self.request
        chosen = task_id or request.id
        if chosen is None:
            raise ConfigurationError("update_state() needs `task_id` outside of a running task.")
        if request.is_eager and not self.store_eager_result:
            return
        self.app.store_state(chosen, state, meta, request if chosen == request.id else None)

    # -- to override -------------------------------------------------------------------------------

    def shadow_name(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> str | None:
        """Return another name for logs and monitors, or None."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Run before the function."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Run after the function has returned."""

    def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Run when the task is to be retried; `einfo` is the traceback as text."""

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Run after the function has raised; `einfo` is the traceback as text."""

    def after_return(  # noqa: PLR0917  the field's signature
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Run after success or failure."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _by_name, (self.name,)

    def __repr__(self) -> str:
        return f"<{'task' if self._app else 'unregistered task'} {self.name or type(self).__name__}>"


class AsyncTask(Task[P, R]):
    """A task whose function is `async def`. Called directly it gives the coroutine; published, the same as any."""

    if TYPE_CHECKING:

        def __call__(  # type: ignore[override]  # R is what the coroutine returns
            self, *args: P.args, **kwargs: P.kwargs
        ) -> Coroutine[Any, Any, R]:
            """Run the coroutine as a plain call."""

    else:

        async def __call__(self, *args, **kwargs):
            """Run the coroutine as a plain call."""
            outer = current_context()
            if outer is not None and outer.entering is self:
                outer.entering = None
                return await self.run(*args, **kwargs)
            token = push(Context(args=args, kwargs=kwargs) if outer is None else outer.direct(args, kwargs))
            try:
                return await self.run(*args, **kwargs)
            finally:
                pop(token)


def _by_name(name: str) -> Task[..., Any]:
    """Return the task of the current app: how tasks are unpickled."""
    return get_current_app().tasks[name]
