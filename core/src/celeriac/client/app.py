"""The app: settings, tasks, and everything that publishes them and reads their results."""

from __future__ import annotations

import importlib
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Literal, NoReturn, ParamSpec, Self, TypeVar, overload

from celeriac import events
from celeriac.client import state
from celeriac.client.canvas.publishing import publish_workflow
from celeriac.client.connections import Connections
from celeriac.client.context import Context, current_context
from celeriac.client.decorating import BoundDecorator, Decorator, declare_task
from celeriac.client.discovery import import_related
from celeriac.client.identity import new_id, process_id
from celeriac.client.options import check_call_options
from celeriac.client.publishing import Publisher
from celeriac.client.registry import Registry
from celeriac.client.result import AsyncResult
from celeriac.client.router import Router
from celeriac.client.serialization import Codecs
from celeriac.client.states import state_record
from celeriac.client.task import AsyncTask, Task
from celeriac.client.waiting import Waiter
from celeriac.config.settings import Settings
from celeriac.errors import ConfigurationError
from celeriac.events import Event
from celeriac.kernel.clock import SYSTEM_CLOCK, Clock
from celeriac.model.signature import Signature, signature

if TYPE_CHECKING:
    from celeriac.config.setting import Setting

__all__ = ["Celeriac"]

P = ParamSpec("P")
R = TypeVar("R")

REVOKED = "revoked"
"""The coordinator's set of the ids of revoked tasks."""


class Celeriac:
    """An app. Making one opens nothing and reads nothing; settings are read when the first is needed.

    Args:
        main: The name of the main program's tasks: `main.function`.
        broker: URL of the broker; the setting `broker_url`.
        backend: URL of the result store; the setting `result_backend`.
        include: Modules a worker imports; the setting `include`.
        set_as_current: Make it the app that `shared_task` and unpickled results use.
        namespace: Prefix of the names in objects given to `config_from_object`.
        config_source: The same as calling `config_from_object` with it.
        task_cls: The class its tasks derive from.
        strict_typing: Check the arguments of calls against the tasks' signatures.
        clock: Time, for tests.
        settings: Any setting.

    Raises: UnknownSetting, InvalidSetting: with the nearest name, or what is expected.
    """

    def __init__(
        self,
        main: str | None = None,
        *,
        broker: str | None = None,
        backend: str | None = None,
        include: Iterable[str] | None = None,
        set_as_current: bool = True,
        namespace: str | None = None,
        config_source: Any = None,
        task_cls: type[Task[..., Any]] = Task,
        strict_typing: bool = True,
        clock: Clock = SYSTEM_CLOCK,
        **settings: Any,
    ) -> None:
        self.main = main
        self.clock = clock
        self.strict_typing = strict_typing
        self.Task = task_cls
        self.steps: dict[str, set[Any]] = {"worker": set(), "consumer": set()}
        """Boot steps of the app's own, by blueprint."""
        self.user_options: defaultdict[str, set[Any]] = defaultdict(set)
        """Command line options of the app's own, by command."""
        self.on_after_configure: Event = Event("on_after_configure", ("source",), "The app was given a configuration.")
        self.on_after_finalize: Event = Event("on_after_finalize", (), "Tasks were added to the app and are complete.")
        given = {"broker_url": broker, "result_backend": backend, "include": tuple(include) if include else None}
        self.conf: Settings = Settings(
            keywords={**{name: value for name, value in given.items() if value is not None}, **settings},
            environ=os.environ,
            discover=self._plugin_settings,
        )
        self._namespace = namespace
        self._registry = Registry(self)
        self._discoveries: list[Callable[[], object]] = []
        self._router: tuple[int, Router] | None = None
        self.codecs: Codecs = Codecs()
        self.connections: Connections = Connections(self)
        self.publisher: Publisher = Publisher(self)
        self.waiter: Waiter = Waiter(self)
        if config_source is not None:
            self.config_from_object(config_source)
        if set_as_current:
            state.make_default(self)

    # -- settings ----------------------------------------------------------------------------------

    def config_from_object(
        self, obj: Any, *, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Read settings from a module, object or mapping, or the import path of one, when the first is needed.

        `force` reads it now; `silent` then ignores a module that does not exist.
        """
        self.conf.config_from_object(obj, namespace=namespace or self._namespace)
        if force or silent:
            try:
                self.conf.resolve()
            except ConfigurationError as error:
                if not (silent and isinstance(error.__cause__, ModuleNotFoundError)):
                    raise
                self.conf.config_from_object({})
        self.on_after_configure.send(self, source=obj)

    def config_from_envvar(self, variable_name: str, *, silent: bool = False, force: bool = False) -> bool:
        """Read settings from the module an environment variable names; return whether it names one.

        Raises: ConfigurationError: it is not set, unless `silent`.
        """
        path = os.environ.get(variable_name)
        if not path:
            if silent:
                return False
            raise ConfigurationError(f"The environment variable {variable_name!r} must name a module of settings.")
        self.config_from_object(path, silent=silent, force=force)
        return True

    def _plugin_settings(self, conf: Settings) -> Iterable[Setting]:
        from celeriac.kernel.hooks import activate  # noqa: PLC0415  brings pluggy, for settings of plugins only

        settings: list[Setting] = activate(self.connections.chosen_plugins(), conf.plugins).settings()
        return settings

    @property
    def timezone(self) -> tzinfo:
        """The zone in which naive datetimes are meant."""
        zone = self.conf.timezone
        if zone is None:
            return UTC if self.conf.enable_utc else (datetime.now().astimezone().tzinfo or UTC)
        if isinstance(zone, str):
            from zoneinfo import ZoneInfo  # noqa: PLC0415  most apps use UTC

            return ZoneInfo(zone)
        return zone

    def in_wire_zone(self, moment: datetime) -> datetime:
        """Return a moment as messages write it: in UTC, or in `timezone` without `enable_utc`."""
        return moment.astimezone(UTC if self.conf.enable_utc else self.timezone)

    def now(self) -> datetime:
        """Return this moment, in the app's zone."""
        return datetime.fromtimestamp(self.clock.time(), self.timezone)

    # -- tasks -------------------------------------------------------------------------------------

    @overload
    def task(self, fun: Callable[P, Coroutine[Any, Any, R]], /, **options: Any) -> AsyncTask[P, R]: ...
    @overload
    def task(self, fun: Callable[P, R], /, **options: Any) -> Task[P, R]: ...
    @overload
    def task(self, /, *, bind: Literal[True], name: str | None = None, **options: Any) -> BoundDecorator: ...
    @overload
    def task(self, /, *, bind: Literal[False] = False, name: str | None = None, **options: Any) -> Decorator: ...
    def task(self, fun: Any = None, /, **options: Any) -> Any:
        """Make a task of a function; a decorator, with or without options.

        Options of the decorator itself: `name`, `base` (a class derived from `Task`), `bind` (the task is the
        function's first argument), `shared` (every other app has it too), `filter` (a function that is given the
        task and returns what takes its place), `lazy` (False completes it now, reading settings). Every other option
        is an attribute of the task; docs/reference/tasks.md lists them.

        Raises: TypeError: an option that there is not. AlreadyRegistered: another task has that name.
        """
        if fun is None:
            return lambda function: declare_task(self, function, options)
        if not callable(fun):
            raise TypeError(f"@app.task takes a function, and options as keywords; got {fun!r}.")
        return declare_task(self, fun, options)

    def register_task(self, task: Any, **options: Any) -> Any:
        """Add a task made of a class: an instance, or the class; return the instance.

        Raises: AlreadyRegistered: another task has that name.
        """
        instance: Task[..., Any] = task() if isinstance(task, type) else task
        for name, value in options.items():
            setattr(instance, name, value)
        self._registry.register(instance)
        return instance

    @property
    def tasks(self) -> Registry:
        """Every task by name, complete."""
        if self._registry.incomplete:
            self.finalize()
        return self._registry

    def has_task(self, name: str) -> bool:
        """Whether a task of that name was added, completed or not."""
        return name in self._registry

    def finalize(self) -> None:
        """Complete the tasks: add the shared ones, apply `task_annotations`. Reading `tasks` does it when needed."""
        if self._registry.complete():
            self.on_after_finalize.send(self)

    def autodiscover_tasks(
        self,
        packages: Collection[str] | Callable[[], Collection[str]],
        related_name: str | None = "tasks",
        *,
        force: bool = False,
    ) -> None:
        """Import `<package>.tasks` of each package when a worker imports its modules; now if `force`."""

        def discover() -> object:
            found = packages() if callable(packages) else packages
            return import_related([found] if isinstance(found, str) else found, related_name)

        if force:
            discover()
        else:
            self._discoveries.append(discover)

    def import_modules(self) -> None:
        """Import every module of tasks that the settings and `autodiscover_tasks` name: what a worker does first."""
        events.import_modules.send(self)
        for module in (*self.conf.imports, *self.conf.include):
            importlib.import_module(module)
        while self._discoveries:
            self._discoveries.pop(0)()

    # -- publishing --------------------------------------------------------------------------------

    @property
    def router(self) -> Router:
        """Where messages go; made anew when a setting changes."""
        revision = self.conf.revision
        if self._router is None or self._router[0] != revision:
            made = Router(self)
            self._router = (self.conf.revision, made)
        return self._router[1]

    def signature(
        self,
        task: str | Mapping[str, Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Signature[Any]:
        """Return a call that has not been made yet, of a task by its name or of a signature as a mapping."""
        return signature(task, args, kwargs, app=self, **options)

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Publish a call of a task by its name; it need not be registered here, and arguments are not checked.

        Of a task that is registered here the options are used as its own, and eager mode applies.

        Raises: as `Task.apply_async`.
        """
        task = self.tasks.get(name)
        args, kwargs = () if args is None else args, {} if kwargs is None else kwargs
        if task is not None and self.conf.task_always_eager:
            check_call_options(options)
            eager: AsyncResult[Any] = task.apply(args, kwargs, **options)
            return eager
        return self.publisher.call(name, args, kwargs, task, options)

    def publish_many(
        self,
        signatures: Iterable[Signature[R]],
        *,
        timeout: float | None = None,
        retry: bool | None = None,
        retry_policy: Mapping[str, Any] | None = None,
    ) -> list[AsyncResult[R]]:
        """Publish calls in one round trip: all of them, or none and an error; return their results in order."""
        calls = [(each, self.tasks.get(each["task"])) for each in signatures]
        for each, task in calls:
            if task is not None:
                task.check_arguments(each["args"], each["kwargs"])
        if self.conf.task_always_eager:
            return [self.send_signature(each) for each, _ in calls]
        return self.publisher.call_many(calls, timeout=timeout, retry=retry, retry_policy=retry_policy)

    # What signatures ask of their app.

    def send_signature(self, sig: Signature[Any]) -> Any:
        """Publish a signature; return its AsyncResult, or the GroupResult of one that ends with a group.

        Raises: Unsupported: it has to wait for a group, and the result store counts no members of groups.
        """
        if sig.subtask_type is not None:
            return self.apply_signature(sig) if self.conf.task_always_eager else publish_workflow(self, sig)
        task = self.tasks.get(sig.task)
        if task is None:
            return self.send_task(sig.task, sig.args, sig.kwargs, **sig.options)
        return task.apply_async(sig.args, sig.kwargs, **sig.options)

    def apply_signature(self, sig: Signature[Any]) -> Any:
        """Run a signature here and now, as a worker would."""
        if sig.subtask_type is not None:
            from celeriac.client.eager import apply_workflow  # noqa: PLC0415  it brings the worker's executor with it

            return apply_workflow(self, sig)
        return self.tasks[sig.task].apply(sig.args, sig.kwargs, **sig.options)

    def call_signature(self, sig: Signature[Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call the function of a signature's task."""
        return self.tasks[sig.task](*args, **kwargs)

    def task_of(self, sig: Signature[Any]) -> Task[..., Any]:
        """Return the task of a signature."""
        return self.tasks[sig.task]

    def result_of(self, sig: Signature[Any]) -> AsyncResult[Any]:
        """Return the result of a signature that has an id."""
        return AsyncResult(sig.id or "", app=self, task_name=sig.task)

    def reply_to(self) -> str:
        """Return where results are sent that are for this process; empty where all can read them."""
        return process_id() if self.connections.replies else ""

    new_id = staticmethod(new_id)

    # -- results -----------------------------------------------------------------------------------

    def AsyncResult(self, task_id: str, *, task_name: str | None = None) -> AsyncResult[Any]:  # noqa: N802  the field's name for it
        """Return the result of a task by its id."""
        return AsyncResult(task_id, app=self, task_name=task_name)

    def store_state(self, task_id: str, name: str, meta: Any, request: Context | None) -> None:
        """Store a state of a task's own."""
        record = state_record(self, task_id, name, meta, request)
        self.connections.results().put([record], timeout=self.conf.result_timeout_seconds)

    def revoke(self, ids: Collection[str]) -> None:
        """Have workers drop these tasks when they come to them, for `task_revoke_expires_seconds`."""
        conf = self.conf
        self.connections.coordinator().remember(
            REVOKED, list(ids), ttl=conf.task_revoke_expires_seconds, timeout=conf.broker_timeout_seconds
        )

    # -- being current, and the end ----------------------------------------------------------------

    @property
    def current_task(self) -> Task[..., Any] | None:
        """The task that runs in this thread or coroutine."""
        context = current_context()
        return None if context is None else self.tasks.get(context.task or "")

    def set_current(self) -> None:
        """Make it the current app of this thread or coroutine."""
        state.choose(self)

    def set_default(self) -> None:
        """Make it the current app wherever none was chosen."""
        state.make_default(self)

    def close(self) -> None:
        """Close its connections and end its thread. It can be used again: what it needs is opened again."""
        self.waiter.close(self.connections.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def worker_main(self, argv: Sequence[str] | None = None) -> NoReturn:
        """Run the command line in this process, with this app, and exit: `app.worker_main(["worker", "-c", "4"])`."""
        # By name: the client is a layer below the command line, which this convenience reaches up to.
        command = importlib.import_module("celeriac.cli.main").celeriac
        raise SystemExit(command.main(None if argv is None else list(argv), obj=self))

    def __repr__(self) -> str:
        return f"<Celeriac {self.main or 'without a name'} at {id(self):#x}>"


Signature.default_app = staticmethod(state.get_current_app)
