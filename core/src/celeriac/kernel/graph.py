"""Steps as a dependency graph: checked as a whole before anything starts, ordered the same way each time.

1. Every step is validated; classes are instantiated.
2. Two steps of one name, or two providers of one key: `DuplicateStep`.
3. A need that nobody provides: `MissingNeed`, with the nearest name and the extra that brings it.
4. An edge from the provider of each key to every step that needs it; a circle of edges: `StepCycle`.
5. The order is the lexicographical topological one: of all steps that could start next, the lowest name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celeriac.errors import DuplicateStep, GraphError, MissingNeed, StepCycle
from celeriac.kernel.extras import missing_extra
from celeriac.kernel.steps import Key, Step, origin

__all__ = ["Graph", "StepLike"]

StepLike = Step | type[Step]


class Graph:
    """Steps that fit together.

    Args:
        steps: Steps, or classes of steps, in any order.
        given: The keys whose values the caller puts in at the start.

    Raises: GraphError: a step is malformed. DuplicateStep, MissingNeed, StepCycle: they do not fit together.
    Source: docs/explanation/boot-graph.md.
    """

    def __init__(self, steps: Iterable[StepLike], given: Iterable[Key[Any]] = ()) -> None:
        self.given: tuple[Key[Any], ...] = tuple(dict.fromkeys(given))
        # By name, so that the error about a graph with several faults is the same each time.
        made = sorted((_make(step) for step in steps), key=lambda step: (step.name, origin(step)))
        self._steps = _by_name(made)
        self._providers = _by_key(made, self.given)
        self._check_needs()
        self.digraph: Any = self._connect()
        """A `networkx.DiGraph` of step names; the attribute `keys` of an edge lists the names it stands for."""
        self.order: tuple[Step, ...] = self._sort()
        """The steps in the order in which they start; they stop in exact reverse."""

    def provider(self, key: Key[Any]) -> Step | None:
        """Return the step that provides `key`, or None when it is given.

        Raises: KeyError: neither.
        """
        return self._providers[key]

    def _check_needs(self) -> None:
        for step in self._steps.values():
            for key in step.needs:
                if key not in self._providers:
                    known = [provided.name for provided in self._providers]
                    raise MissingNeed(step.name, key.name, known, extra=missing_extra("key", key.name))

    def _connect(self) -> Any:
        import networkx  # noqa: PLC0415  0.1 to 0.2 s, paid only by who boots or draws a graph

        digraph = networkx.DiGraph()
        digraph.add_nodes_from(self._steps)
        for step in self._steps.values():
            for key in dict.fromkeys(step.needs):
                provider = self._providers[key]
                if provider is None:
                    continue
                if not digraph.has_edge(provider.name, step.name):
                    digraph.add_edge(provider.name, step.name, keys=())
                digraph.edges[provider.name, step.name]["keys"] += (key.name,)
        return digraph

    def _sort(self) -> tuple[Step, ...]:
        import networkx  # noqa: PLC0415  as above

        try:
            names = list(networkx.lexicographical_topological_sort(self.digraph))
        except networkx.NetworkXUnfeasible:
            circle = [edge[0] for edge in networkx.find_cycle(self.digraph)]
            # From the lowest name on, so that the message does not depend on where the search began.
            first = circle.index(min(circle))
            raise StepCycle([*circle[first:], *circle[:first], circle[first]]) from None
        return tuple(self._steps[name] for name in names)


def _make(step: StepLike) -> Step:
    """Return a valid instance."""
    if isinstance(step, type) and issubclass(step, Step):
        try:
            step = step()
        except TypeError as error:
            problem = f"cannot be made without arguments ({error}). Add an instance of it instead"
            raise GraphError(f"Boot step {origin(step)} {problem}.") from error
    if not isinstance(step, Step):
        raise GraphError(f"{step!r} is not a boot step. Derive its class from celeriac.kernel.steps.Step.")
    if not isinstance(step.name, str) or not step.name:
        raise GraphError(f"Boot step {origin(step)} has no name. Set the class attribute `name` to a text.")
    for attribute in ("needs", "provides"):
        keys = getattr(step, attribute)
        if not isinstance(keys, tuple) or not all(isinstance(key, Key) for key in keys):
            raise GraphError(
                f"Boot step {step.name!r} ({origin(step)}): `{attribute}` must be a tuple of Key, such as"
                f' `(Key("pool"),)`; got {keys!r}.'
            )
    return step


def _by_name(steps: list[Step]) -> dict[str, Step]:
    named: dict[str, Step] = {}
    for step in steps:
        first = named.setdefault(step.name, step)
        if first is not step:
            raise DuplicateStep(f"the name {step.name!r}", origin(first), origin(step))
    return named


def _by_key(steps: list[Step], given: tuple[Key[Any], ...]) -> dict[Key[Any], Step | None]:
    providers: dict[Key[Any], Step | None] = dict.fromkeys(given)
    for step in steps:
        for key in step.provides:
            if key in providers:
                first = providers[key]
                said = f"{first.name!r} ({origin(first)})" if first else "the program itself, which gives it"
                raise DuplicateStep(f"the key {key.name!r}", said, f"{step.name!r} ({origin(step)})")
            providers[key] = step
    return providers
