"""The three kinds of workflow, as signatures whose arguments are signatures.

Their wire form is Celery's, with the members of a chain or a group under `kwargs.tasks`, and those of a chord under
`kwargs.header` and `kwargs.body`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from celeriac.model.caller import SignatureApp
from celeriac.model.signature import Signature, signature
from celeriac.model.wireform import as_list

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac

__all__ = ["chain", "chord", "group"]

Member = Mapping[str, Any]


def _members(given: Sequence[Any], app: SignatureApp | None) -> list[Signature[Any]]:
    """Return the signatures of `f(a, b)`, `f([a, b])` or `f(a for …)`."""
    alone = len(given) == 1 and not isinstance(given[0], Mapping)
    return [_member(each, app) for each in (given[0] if alone else given)]


def _member(value: Any, app: SignatureApp | None) -> Signature[Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"A workflow is made of signatures, such as task.s(); got {value!r}.")
    return signature(value, app=app)


def _is_task(sig: Signature[Any]) -> bool:
    return not isinstance(sig, Workflow)


def _app_of(members: Iterable[Signature[Any]]) -> SignatureApp | None:
    return next((each._app for each in members if each._app is not None), None)


class Workflow(Signature[Any]):
    """A signature that is made of others."""

    kind = ""

    def _set_up(self, kwargs: dict[str, Any], options: Mapping[str, Any], app: SignatureApp | None) -> None:
        super().__init__(f"celery.{self.kind}", (), {}, options, subtask_type=self.kind, app=app)
        self["kwargs"] = kwargs

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Publish it, given `args`, with these options; return its result."""
        return self.apply_async(args, **options)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Publish it, given `args` and `kwargs`: to the first step of a chain, to each member of a group or header.

        Returns: the result of what it ends with, with those before it as parents.
        Raises: Unsupported: it has to wait for a group, and the result store counts no members of groups.
        """
        return super(Workflow, self._given(kwargs)).apply_async(args, **options)

    def apply(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run it here and now, as workers would; return the result of what it ends with."""
        return super(Workflow, self._given(kwargs)).apply(args, **options)

    def _given(self, kwargs: Mapping[str, Any] | None) -> Workflow:
        """Return itself, or a copy in which what begins has these keyword arguments too."""
        if not kwargs or self.immutable:
            return self
        given = cast("Workflow", self.clone())
        for part in given._first():
            if isinstance(part, Workflow):
                part["kwargs"] = part._given(kwargs)["kwargs"]
            elif not part.immutable:
                part.kwargs.update(kwargs)
        return given

    def _first(self) -> list[Signature[Any]]:
        """Return what begins when it does."""
        raise NotImplementedError

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
        """Fix the ids of everything in it now, and return its result, as publishing it would.

        `task_id` is that of the last step of a chain, of a chord's body, or of a group itself.
        """
        from celeriac.client.canvas.shaping import freeze  # noqa: PLC0415  it works on the classes of this module

        fixed: dict[str, Any] = {"task_id": task_id, "group_id": group_id, "chord": chord, "root_id": root_id}
        fixed |= {"parent_id": parent_id, "group_index": group_index}
        for name, value in fixed.items():
            if value is not None:
                self.options.setdefault(name, value)
        app = cast("Celeriac", self.app)
        return freeze(self, app, app.reply_to())


@Signature.register_type("chain")
class chain(Workflow):  # noqa: N801  the field's name, used like a function
    """Calls one after the other, each given what the one before returned.

    `chain(a, b, c)` is `a | b | c`: a group that something follows becomes a chord, and so may the whole.
    """

    kind = "chain"

    def __new__(cls, *tasks: Any, app: SignatureApp | None = None, **options: Any) -> Any:
        """Return what composing the tasks gives: a chain, or the group or chord that is all of it."""
        members = _members(tasks, app)
        if options or (len(tasks) == 1 and isinstance(tasks[0], Mapping)):
            return cls.of(members, options, app)
        made: Signature[Any] = cls.of([], app=app)
        for place, member in enumerate(members):
            if place and isinstance(made, chain) and _is_task(member) and _is_task(made.tasks[-1]):
                made.tasks.append(member.clone())  # what composing comes to, without copying all steps for each
            else:
                made = made | member
        return made

    def __init__(self, *tasks: Any, app: SignatureApp | None = None, **options: Any) -> None:
        """Do nothing: `__new__` has composed it."""

    @classmethod
    def of(
        cls, steps: Sequence[Signature[Any]], options: Mapping[str, Any] | None = None, app: SignatureApp | None = None
    ) -> chain:
        """Return a chain of just these steps, whatever could be made of them."""
        made: chain = dict.__new__(cls)
        made._set_up({"tasks": list(steps)}, options or {}, app or _app_of(steps))
        return made

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], app: SignatureApp | None = None) -> chain:
        """Return the chain that a mapping describes."""
        steps = [signature(each, app=app) for each in data["kwargs"]["tasks"]]
        made = cls.of(steps, data.get("options"), app)
        made["args"] = tuple(data.get("args") or ())
        made["immutable"] = bool(data.get("immutable"))
        return made

    @property
    def tasks(self) -> list[Signature[Any]]:
        """The steps, in order."""
        return cast("list[Signature[Any]]", self["kwargs"]["tasks"])

    def _first(self) -> list[Signature[Any]]:
        return self.tasks[:1]

    def unchained(self) -> list[Signature[Any]]:
        """Return copies of the steps with what is linked to the chain: callbacks to the last, errbacks to all."""
        steps = [step.clone() for step in self.tasks]
        for callback in as_list(self.options.get("link")):
            steps[-1].link(callback)
        for errback in as_list(self.options.get("link_error")):
            for step in steps:
                step.link_error(errback)
        return steps


@Signature.register_type("group")
class group(Workflow):  # noqa: N801  the field's name
    """Calls side by side. Their results come as one, in the order of the calls."""

    kind = "group"

    def __init__(self, *tasks: Any, app: SignatureApp | None = None, **options: Any) -> None:
        same = len(tasks) == 1 and isinstance(tasks[0], group)
        members = list(tasks[0].tasks) if same else _members(tasks, app)
        self._set_up({"tasks": members}, options, app or _app_of(members))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], app: SignatureApp | None = None) -> group:
        """Return the group that a mapping describes."""
        made = cls([signature(each, app=app) for each in data["kwargs"]["tasks"]], app=app, **data.get("options") or {})
        made["args"] = tuple(data.get("args") or ())
        made["immutable"] = bool(data.get("immutable"))
        return made

    @property
    def tasks(self) -> list[Signature[Any]]:
        """The members, in order."""
        return cast("list[Signature[Any]]", self["kwargs"]["tasks"])

    def _first(self) -> list[Signature[Any]]:
        return self.tasks

    @property
    def unrolled(self) -> Signature[Any]:
        """The only member of a group of one, else the group itself."""
        return self.tasks[0] if len(self.tasks) == 1 else self

    def set_immutable(self, immutable: bool) -> None:
        """Have the members ignore arguments that are given later, or no longer."""
        for member in self.tasks:
            member.set_immutable(immutable)

    def link_error(self, errback: Signature[Any]) -> Signature[Any]:
        """Call a copy of `errback` for each member that fails; return `errback`."""
        for member in self.tasks:
            member.link_error(errback.clone())
        return errback

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> group:
        """Set the countdowns of the members: `start`, `start + step` …, beginning anew at `stop`; return itself."""
        seconds = start
        for member in self.tasks:
            member.set(countdown=seconds)
            seconds += step
            if stop is not None and seconds >= stop:
                seconds = start
        return self


@Signature.register_type("chord")
class chord(Workflow):  # noqa: N801  the field's name
    """A group, the header, and a body that is called with the list of its results when all have succeeded.

    `chord(header)(body)` sends it at once.
    """

    kind = "chord"

    def __init__(self, header: Any, body: Any = None, *, app: SignatureApp | None = None, **options: Any) -> None:
        if isinstance(header, group) and "join" in header.options:
            options.setdefault("join", header.options["join"])
        if isinstance(header, chain | group):
            members = list(header.tasks)
        elif isinstance(header, Mapping):
            members = [_member(header, app)]
        else:
            members = [_member(each, app) for each in header]
        follows = None if body is None else _member(body, app)
        kwargs: dict[str, Any] = {"kwargs": {}, "header": members, "body": follows}
        self._set_up(kwargs, options, app or _app_of([*members, *([] if follows is None else [follows])]))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], app: SignatureApp | None = None) -> chord:
        """Return the chord that a mapping describes."""
        kwargs = data["kwargs"]
        given = kwargs["header"]
        header = (
            signature(given, app=app) if isinstance(given, Mapping) else [signature(each, app=app) for each in given]
        )
        made = cls(header, kwargs.get("body"), app=app, **data.get("options") or {})
        if isinstance(header, group) and header.id is not None:
            made["kwargs"]["header"] = header
        made["kwargs"]["kwargs"] = dict(kwargs.get("kwargs") or {})
        made["args"] = tuple(data.get("args") or ())
        made["immutable"] = bool(data.get("immutable"))
        return made

    @property
    def tasks(self) -> list[Signature[Any]]:
        """The members of the header, in order."""
        header = self["kwargs"]["header"]
        return header.tasks if isinstance(header, group) else cast("list[Signature[Any]]", header)

    def _first(self) -> list[Signature[Any]]:
        return self.tasks

    @property
    def header_id(self) -> str | None:
        """The id of the header as a group, once `freeze` fixed it."""
        header = self["kwargs"]["header"]
        return header.id if isinstance(header, group) else None

    def frozen_header(self, group_id: str) -> group:
        """Make the header a group with this id, if it has none yet, and return it."""
        header = self["kwargs"]["header"]
        if not isinstance(header, group):
            header = self["kwargs"]["header"] = group(header, app=self._app)
        header.options.setdefault("task_id", group_id)
        return header

    @property
    def body(self) -> Signature[Any] | None:
        """What is called with the results."""
        return cast("Signature[Any] | None", self["kwargs"]["body"])

    @body.setter
    def body(self, body: Signature[Any] | None) -> None:
        self["kwargs"]["body"] = body

    def extended(self, step: Signature[Any]) -> chord:
        """Return a copy whose body is followed by `step`.

        Raises: TypeError: the chord has no body yet.
        """
        if self.body is None:
            raise TypeError("Nothing can follow a chord that has no body. Give it one: chord(header, body).")
        copied = cast("chord", self.clone())
        copied.body = cast("Signature[Any]", copied.body) | step
        return copied

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Publish it, with this body if one is given, and with these options; return the body's result."""
        whole = self if body is None else chord(self.tasks, body, app=self._app, **self.options)
        return whole.apply_async(**options)

    def set_immutable(self, immutable: bool) -> None:
        """Have the header ignore arguments that are given later, or no longer."""
        for member in self.tasks:
            member.set_immutable(immutable)

    def link(self, callback: Signature[Any]) -> Signature[Any]:
        """Call `callback` with what the body returned; return `callback`."""
        if self.body is not None:
            self.body.link(callback)
        return callback

    def link_error(self, errback: Signature[Any]) -> Signature[Any]:
        """Call `errback` when the body fails, or the header does; return `errback`."""
        if self.body is not None:
            self.body.link_error(errback)
        return errback
