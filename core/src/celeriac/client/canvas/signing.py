"""What makes signatures of a task: calls that have not been made yet, and workflows of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar

from celeriac.model.signature import Signature

if TYPE_CHECKING:
    from celeriac.client.app import Celeriac
    from celeriac.client.canvas.mapping import chunks
    from celeriac.client.context import Context

__all__ = ["Signing"]

P = ParamSpec("P")
R = TypeVar("R")


class Signing(Generic[P, R]):
    """The part of a task that makes signatures of it."""

    name: str = ""
    _app: Celeriac | None = None

    if TYPE_CHECKING:

        @property
        def app(self) -> Celeriac:
            """The app it belongs to."""

        @property
        def request(self) -> Context:
            """The run it is in."""

    def signature(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature[R]:
        """Return a call that has not been made yet, with options."""
        immutable = bool(options.pop("immutable", False))
        return Signature(self.name, args, kwargs, options, immutable=immutable, app=self._app)

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """Return a call that has not been made yet; more arguments may be put in front of these."""
        return Signature(self.name, args, kwargs, app=self._app)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R]:
        """Return a call that has not been made yet, with exactly these arguments."""
        return Signature(self.name, args, kwargs, immutable=True, app=self._app)

    def map(self, it: Iterable[Any]) -> Signature[list[R]]:
        """Return the call that runs this task with each value, one after the other in one run."""
        from celeriac.client.canvas.mapping import xmap  # noqa: PLC0415  a workflow, which few programs make; as below

        return xmap(self.s(), it, app=self._app)

    def starmap(self, it: Iterable[Sequence[Any]]) -> Signature[list[R]]:
        """Return the call that runs this task with each list of arguments, one after the other in one run."""
        from celeriac.client.canvas.mapping import xstarmap  # noqa: PLC0415  as above

        return xstarmap(self.s(), it, app=self._app)

    def chunks(self, it: Iterable[Sequence[Any]], n: int) -> chunks:
        """Return the calls of this task with each list of arguments, in runs of `n` of them, side by side."""
        from celeriac.client.canvas.mapping import chunks  # noqa: PLC0415  as above

        return chunks(self.s(), it, n, app=self._app)

    def add_to_chord(self, sig: Mapping[str, Any]) -> Any:
        """Add a member to the chord that this run is a member of, and return its result.

        It is published when this run is settled, however it ended. Its value comes after those of the header; those
        of several that were added are in the order of their ids.

        Raises: ValueError: this run is no member of a chord, or what is added ends with a group.
        """
        from celeriac.client.canvas.adding import add_to_chord  # noqa: PLC0415  as above

        return add_to_chord(self.app, self.request, sig)

    def replace(self, sig: Mapping[str, Any]) -> NoReturn:
        """End this run and let `sig` take its place: its id, what follows it, its part in a chord.

        A workflow's result becomes this task's; that of a group is the list of its members'.

        Raises: Replaced, always; let it leave the task. RuntimeError: there is no run to replace.
        """
        from celeriac.client.canvas.replacing import replace  # noqa: PLC0415  as above

        replace(self.app, self.request, sig)
