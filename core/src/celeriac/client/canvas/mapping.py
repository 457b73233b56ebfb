"""One task for many arguments: `map`, `starmap`, `chunks`.

Each is a plain signature of a task that every app has, under the name that it has on Celery's wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from celeriac.client.canvas.workflows import group
from celeriac.model.caller import SignatureApp
from celeriac.model.signature import Signature, signature

__all__ = ["chunks", "xmap", "xstarmap"]


def xmap(task: Mapping[str, Any], it: Iterable[Any], *, app: SignatureApp | None = None) -> Signature[list[Any]]:
    """Return the call that runs `task(x)` for each x, one after the other in one run, and returns the list."""
    return _mapping("celery.map", task, {"it": list(it)}, app)


def xstarmap(task: Mapping[str, Any], it: Iterable[Any], *, app: SignatureApp | None = None) -> Signature[list[Any]]:
    """Return the call that runs `task(*x)` for each x, one after the other in one run, and returns the list."""
    return _mapping("celery.starmap", task, {"it": list(it)}, app)


def _mapping(
    name: str, task: Mapping[str, Any], kwargs: Mapping[str, Any], app: SignatureApp | None
) -> Signature[list[Any]]:
    called = signature(task, app=app)
    return Signature(name, (), {"task": called, **kwargs}, immutable=True, app=app or called._app)


class chunks(Signature[list[Any]]):  # noqa: N801  the field's name
    """`task(*x)` for each x, in runs of `n` of them each, side by side: the result is a list of lists."""

    def __init__(
        self, task: Mapping[str, Any], it: Iterable[Sequence[Any]], n: int, *, app: SignatureApp | None = None
    ) -> None:
        if n < 1:
            raise ValueError(f"A chunk holds at least one call, not {n}.")
        called = signature(task, app=app)
        kwargs = {"task": called, "it": list(it), "n": n}
        super().__init__("celery.chunks", (), kwargs, immutable=True, app=app or called._app)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], app: SignatureApp | None = None) -> chunks:
        """Return the chunks that a mapping describes."""
        kwargs = data["kwargs"]
        made = cls(kwargs["task"], kwargs["it"], kwargs["n"], app=app)
        made["options"] = dict(data.get("options") or {})
        return made

    def group(self) -> group:
        """Return the group of which it consists."""
        kwargs = self.kwargs
        return group([xstarmap(kwargs["task"], part) for part in _parts(kwargs["it"], kwargs["n"])], app=self._app)

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Publish all chunks; return a GroupResult."""
        return self.group().apply_async(args, kwargs, **options)

    def __call__(self, **options: Any) -> Any:
        """Publish all chunks, with these options; return a GroupResult."""
        return self.apply_async(**options)


def _parts(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    left = iter(values)
    while part := list(islice(left, size)):
        yield part
