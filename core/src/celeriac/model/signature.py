"""Signatures: a task's name with arguments and options, as a plain mapping that can be sent, stored and changed.

The wire form is Celery's: `task`, `args`, `kwargs`, `options`, `subtask_type` and `immutable`, always all present.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from celeriac.errors import ConfigurationError
from celeriac.model.caller import SignatureApp
from celeriac.model.wireform import as_list, check

__all__ = ["Signature", "signature"]

R = TypeVar("R")
S = TypeVar("S", bound="Signature[Any]")


class Signature(dict[str, Any], Generic[R]):
    """A call that has not been made yet. `R` is what the task returns.

    It is a dict with the six keys of the wire form, so that it can be an argument of other tasks; `app` is not part
    of it. Adding arguments: positional ones go in front of its own, keywords and options win over its own.
    """

    types: ClassVar[dict[str, type[Signature[Any]]]] = {}
    """Subclasses by `subtask_type`: `chain`, `group` and `chord` enter here."""

    default_app: ClassVar[Callable[[], SignatureApp] | None] = None
    """Finds the app of a signature that came without one; set by the client."""

    composer: ClassVar[Callable[[Signature[Any], Signature[Any]], Signature[Any]] | None] = None
    """What `|` makes of two; set by the client's canvas."""

    _app: SignatureApp | None = None

    def __init__(
        self,
        task: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        subtask_type: str | None = None,
        immutable: bool = False,
        app: SignatureApp | None = None,
    ) -> None:
        super().__init__(
            task=task,
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            options=dict(options or {}),
            subtask_type=subtask_type,
            immutable=immutable,
        )
        if app is not None:
            self._app = app

    @classmethod
    def register_type(cls, name: str) -> Callable[[type[S]], type[S]]:
        """Make a subclass the one that mappings with this `subtask_type` become; a class decorator."""

        def register(subclass: type[S]) -> type[S]:
            cls.types[name] = subclass
            return subclass

        return register

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], app: SignatureApp | None = None) -> Signature[Any]:
        """Return the signature that a mapping describes, of the class its `subtask_type` names.

        Raises: InvalidMessage: a key is missing or malformed; says which.
        """
        check(data)
        target = cls.types.get(data.get("subtask_type") or "")
        if target is not None and target is not cls:
            return target.from_dict(data, app)
        return cls(
            data["task"],
            data.get("args"),
            data.get("kwargs"),
            data.get("options"),
            subtask_type=data.get("subtask_type"),
            immutable=bool(data.get("immutable")),
            app=app,
        )

    # -- parts -------------------------------------------------------------------------------------

    @property
    def task(self) -> str:
        """The task's name."""
        return str(self["task"])

    name = task

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments."""
        return tuple(self["args"])

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments."""
        return self["kwargs"]  # type: ignore[no-any-return]  # a dict of Any by construction

    @property
    def options(self) -> dict[str, Any]:
        """The options of `apply_async`."""
        return self["options"]  # type: ignore[no-any-return]  # as above

    @property
    def subtask_type(self) -> str | None:
        """The kind of composition, or None for a plain task."""
        return self["subtask_type"]  # type: ignore[no-any-return]  # as above

    @property
    def immutable(self) -> bool:
        """Whether arguments given later are ignored."""
        return bool(self["immutable"])

    @property
    def id(self) -> str | None:
        """The task id, once `freeze` or an option fixed it."""
        return self.options.get("task_id")

    @property
    def parent_id(self) -> str | None:
        """The id of the task that starts this one, where an option fixed it."""
        return self.options.get("parent_id")

    @property
    def root_id(self) -> str | None:
        """The id of the first task of the workflow, where an option fixed it."""
        return self.options.get("root_id")

    @property
    def app(self) -> SignatureApp:
        """The app it was made with, else the current one.

        Raises: ConfigurationError: there is none.
        """
        if self._app is not None:
            return self._app
        if Signature.default_app is None:
            raise ConfigurationError(f"The signature of {self.task!r} belongs to no app. Pass `app=`.")
        return Signature.default_app()

    @property
    def type(self) -> Any:
        """The registered task.

        Raises: NotRegistered: there is none of that name here.
        """
        return self.app.task_of(self)

    # -- copies and changes ------------------------------------------------------------------------

    def merged(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        """Return args, kwargs and options with more of each. A workflow's own `group_id` and stamps are kept."""
        more = {**self.options, **(options or {})}
        stamps = self.options.get("stamped_headers") or ()
        for kept in ("group_id", "stamped_headers", *stamps):
            if self.options.get(kept) is not None:
                more[kept] = self.options[kept]
        if self.immutable:
            return self.args, self.kwargs, more
        return (*(args or ()), *self.args), {**self.kwargs, **(kwargs or {})}, more

    def clone(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature[R]:
        """Return a copy with more arguments and options."""
        args, kwargs, merged = self.merged(args, kwargs, options)
        return self._copy(args, kwargs, merged)

    partial = clone

    def replace(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Signature[R]:
        """Return a copy in which the given parts are replaced as a whole."""
        return self._copy(
            self.args if args is None else args,
            self.kwargs if kwargs is None else kwargs,
            self.options if options is None else options,
        )

    def _copy(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Signature[R]:
        data = {**self, "args": tuple(args), "kwargs": _deep(kwargs), "options": _deep(options)}
        return self.from_dict(data, self._app)

    def set(self, immutable: bool | None = None, **options: Any) -> Signature[R]:
        """Change options in place, and return itself."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Ignore arguments that are given later, or no longer."""
        self["immutable"] = immutable

    def freeze(
        self,
        task_id: str | None = None,
        *,
        group_id: str | None = None,
        chord: Mapping[str, Any] | None = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Fix the id of the coming run now, and return its result. A second time keeps the first id."""
        options = self.options
        options.setdefault("task_id", task_id or self.app.new_id())
        reply_to = self.app.reply_to()
        if reply_to:
            options.setdefault("reply_to", reply_to)
        if group_id is not None:
            options.setdefault("group_id", group_id)
        later = {"root_id": root_id, "parent_id": parent_id, "chord": chord, "group_index": group_index}
        options.update({name: value for name, value in later.items() if value is not None})
        return self.app.result_of(self)

    # -- links -------------------------------------------------------------------------------------

    def link(self, callback: Signature[Any]) -> Signature[Any]:
        """Call `callback` with the result when the task has succeeded; return `callback`."""
        return self._append("link", callback)

    def link_error(self, errback: Signature[Any]) -> Signature[Any]:
        """Call `errback` when the task has failed; return `errback`."""
        return self._append("link_error", errback)

    def on_error(self, errback: Signature[Any]) -> Signature[R]:
        """Call `errback` when the task has failed; return itself."""
        self.link_error(errback)
        return self

    def _append(self, key: str, link: Signature[Any]) -> Signature[Any]:
        links = as_list(self.options.get(key))
        if link not in links:
            links.append(link)
        self.options[key] = links
        return link

    def flatten_links(self) -> list[Signature[Any]]:
        """Return itself and everything linked to it on success, however deep."""
        flat: list[Signature[Any]] = [self]
        for linked in as_list(self.options.get("link")):
            flat += signature(linked, app=self._app).flatten_links()
        return flat

    # -- the canvas, by name: it is a layer above -------------------------------------------------

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Signature[R]:
        """Stamp it, and everything in it and linked to it, with these headers; return itself.

        Args:
            visitor: A `StampingVisitor`, which is asked for the stamps of each part.
            append_stamps: Collect the values of a stamp that is there already in a list; else the new one replaces it.
            headers: Stamps for all parts, by name.
        """
        _canvas("stamping").stamp(self, visitor, append_stamps, headers)
        return self

    def stamp_links(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> None:
        """Stamp what is linked to it, not itself; see `stamp`."""
        _canvas("stamping").stamp_links(self, visitor, append_stamps, headers)

    def to_mermaid(self) -> str:
        """Return it as a flow chart of Mermaid."""
        return str(_canvas("drawing").draw(self, "mermaid"))

    def to_dot(self) -> str:
        """Return it as a directed graph of Graphviz."""
        return str(_canvas("drawing").draw(self, "dot"))

    # -- calls -------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Run the task's function here and now, with the arguments completed."""
        args, kwargs, _ = self.merged(args, kwargs)
        result: R = self.app.call_signature(self, args, kwargs)
        return result

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Publish with the arguments completed; return an AsyncResult."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Publish with arguments and options completed; return an AsyncResult. Options that are None are not given."""
        given = {name: value for name, value in options.items() if value is not None}
        return self.app.send_signature(self.clone(args, kwargs, **given))

    def apply(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run here and now as a worker would; return an EagerResult."""
        return self.app.apply_signature(self.clone(args, kwargs, **options))

    def __or__(self, other: Any) -> Signature[Any]:  # type: ignore[override]  # of a dict it is only the name
        """Return what runs this and then `other`, given the result."""
        if not isinstance(other, Signature) or Signature.composer is None:
            return NotImplemented
        return Signature.composer(self, other)

    def __ror__(self, other: Any) -> Signature[Any]:  # type: ignore[override]  # as above
        """Leave it to the left one; with this, type checkers find its `__or__` before that of a dict."""
        return NotImplemented

    def __ior__(self, other: Any) -> Signature[Any]:  # type: ignore[override]  # as above
        """Return the same as `self | other`: signatures are not changed in place."""
        return self.__or__(other)

    def __invert__(self) -> R:
        """Publish, and wait for the value."""
        value: R = self.apply_async().get()
        return value

    # -- as data -----------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        return signature, (dict(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Signature[R]:
        copied = self.from_dict(_deep(self), self._app)
        memo[id(self)] = copied
        return copied

    __copy__ = clone

    def __json__(self) -> dict[str, Any]:
        """Return the plain mapping, for serializers that ask."""
        return dict(self)

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the call as text."""
        args, kwargs, _ = self.merged(args, kwargs)
        return f"{self.task}({', '.join([*map(repr, args), *(f'{key}={value!r}' for key, value in kwargs.items())])})"

    def __repr__(self) -> str:
        return self.reprcall()


def signature(
    task: str | Mapping[str, Any],
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    app: SignatureApp | None = None,
    immutable: bool = False,
    **options: Any,
) -> Signature[Any]:
    """Return a signature of a task's name, or of a mapping in wire form; a signature is returned as it is."""
    if isinstance(task, Signature):
        return task
    if isinstance(task, Mapping):
        return Signature.from_dict(task, app)
    merged = {**options.pop("options", {}), **options}
    return Signature(str(getattr(task, "name", task)), args, kwargs, merged, immutable=immutable, app=app)


def _canvas(module: str) -> Any:
    return importlib.import_module(f"celeriac.client.canvas.{module}")


def _deep(value: Any) -> Any:
    """Copy nested containers, so that two signatures share nothing that one of them could change."""
    if isinstance(value, Signature):
        return value.from_dict({key: _deep(part) for key, part in value.items()}, value._app)
    if isinstance(value, dict):
        return {key: _deep(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_deep(part) for part in value]
    return value
