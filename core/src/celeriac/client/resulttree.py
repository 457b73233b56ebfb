"""The tree of results: what a task led to, what that led to, and so on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from celeriac.errors import IncompleteStream

if TYPE_CHECKING:
    import networkx

    from celeriac.client.groupresult import GroupResult
    from celeriac.client.result import AsyncResult

    Node: TypeAlias = AsyncResult[Any] | GroupResult[Any]

__all__ = ["ResultTree"]


class ResultTree:
    """What results of tasks and of groups have in common: they lead to others.

    The children of a task are the tasks and workflows that it started and those that followed it; those of a group
    are its members.
    """

    if TYPE_CHECKING:

        @property
        def children(self) -> list[Any]:
            """The results it led to."""

        def ready(self) -> bool:
            """Whether it has ended."""

        def get(self) -> Any:
            """Wait for the value."""

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Node | None, Node]]:
        """Yield pairs of a result and one that it led to, from this one on, level by level; the first is (None, self).

        Args:
            intermediate: Go on past what has not ended, whose children are not known yet.

        Raises: IncompleteStream: something has not ended, unless `intermediate`.
        """
        waiting: deque[tuple[Any, Any]] = deque([(None, self)])
        while waiting:
            parent, node = waiting.popleft()
            yield parent, node
            if node.ready() or node.is_group:
                waiting.extend((node, child) for child in node.children)
            elif not intermediate:
                raise IncompleteStream(f"{node!r} has not ended; what it leads to is not known yet.")

    def collect(
        self, intermediate: bool = False, *, timeout: float | None = None, propagate: bool = True
    ) -> Iterator[tuple[Node, Any]]:
        """Yield each result of the tree with its value, waiting for each at most `timeout` seconds.

        Raises: with `propagate`, what a task raised. TimeoutError: not in time.
        """
        for _, node in self.iterdeps(intermediate):
            yield node, node.get(timeout, propagate)

    def get_leaf(self) -> Any:
        """Wait for the whole tree, and return the value of what came last in it."""
        last: Any = None
        for _, value in self.collect():
            last = value
        return last

    def build_graph(self, intermediate: bool = False) -> networkx.DiGraph[Any]:
        """Return the tree as a graph of results, an edge from each one to what it led to.

        Raises: IncompleteStream: something has not ended, unless `intermediate`.
        """
        import networkx  # noqa: PLC0415  0.1 to 0.2 s, paid only by who draws a graph

        graph: networkx.DiGraph[Any] = networkx.DiGraph()
        for parent, node in self.iterdeps(intermediate):
            graph.add_node(node)
            if parent is not None:
                graph.add_edge(parent, node)
        return graph

    @property
    def graph(self) -> networkx.DiGraph[Any]:
        """The whole tree as a graph; see `build_graph`."""
        return self.build_graph()
