"""A boot graph as text or picture: what starts, in which order, and why."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from celeriac.errors import ConfigurationError, nearest
from celeriac.kernel.graph import Graph
from celeriac.kernel.steps import Key, origin

__all__ = ["FORMATS", "draw", "svg_of"]

_DOT_TIMEOUT = 60.0


def draw(graph: Graph, form: str = "text", *, title: str = "boot") -> str:
    """Return the graph as `text`, `mermaid`, `dot` or `svg`; the same text for the same graph.

    In pictures an arrow goes from the provider of a key to the step that needs it; keys that the program gives
    are drawn round.

    Args:
        graph: What to draw; nothing is started.
        form: One of `FORMATS`.
        title: What the graph is called, such as `worker`.

    Raises: ConfigurationError: no such format, or `svg` where Graphviz's program `dot` is not installed or fails.
    """
    if form not in FORMATS:
        raise ConfigurationError(f"No format {form!r}.{nearest(form, FORMATS)} Formats: {', '.join(FORMATS)}.")
    return FORMATS[form](graph, title)


def _text(graph: Graph, title: str) -> str:
    count = len(graph.order)
    lines = [f"{title}: {count} step{'' if count == 1 else 's'}, in the order they start"]
    if graph.given:
        lines.append(f"    given: {_names(graph.given)}")
    width = max((len(step.name) for step in graph.order), default=0)
    for number, step in enumerate(graph.order, 1):
        parts = [f"{number:3} {step.name:{width}}"]
        parts += [f"needs {_names(step.needs)}"] if step.needs else []
        parts += [f"provides {_names(step.provides)}"] if step.provides else []
        lines.append("  ".join([*parts, f"({origin(step)})"]))
    return "\n".join(lines) + "\n"


def _mermaid(graph: Graph, title: str) -> str:
    ids = _identifiers(graph)
    lines = ["---", f"title: {_quoted(title)}", "---", "flowchart TD"]
    lines += [f"    {ids[key]}([{_escaped(key.name)}])" for key in graph.given]
    lines += [f"    {ids[step.name]}[{_escaped(step.name)}]" for step in graph.order]
    lines += [f"    {ids[tail]} -->|{_escaped(label)}| {ids[head]}" for tail, head, label in _edges(graph)]
    return "\n".join(lines) + "\n"


def _dot(graph: Graph, title: str) -> str:
    ids = _identifiers(graph)
    lines = [f"digraph {_quoted(title)} {{", "    node [shape=box];"]
    lines += [f"    {ids[key]} [label={_quoted(key.name)}, shape=ellipse];" for key in graph.given]
    lines += [f"    {ids[step.name]} [label={_quoted(step.name)}];" for step in graph.order]
    lines += [f"    {ids[tail]} -> {ids[head]} [label={_quoted(label)}];" for tail, head, label in _edges(graph)]
    return "\n".join([*lines, "}"]) + "\n"


def _svg(graph: Graph, title: str) -> str:
    return svg_of(_dot(graph, title))


def svg_of(dot: str) -> str:
    """Return the picture of a graph in Graphviz's language.

    Raises: ConfigurationError: Graphviz's program `dot` is not installed, or fails.
    """
    try:
        drawn = subprocess.run(
            ["dot", "-Tsvg"],  # noqa: S607  found on PATH, as every user of Graphviz has it
            input=dot,
            capture_output=True,
            encoding="utf-8",
            timeout=_DOT_TIMEOUT,
            check=True,
        )
    except FileNotFoundError as error:
        raise ConfigurationError(
            "Drawing svg needs Graphviz, and its program 'dot' is not on PATH. Install it (apt install graphviz,"
            " brew install graphviz, winget install graphviz), or use --format mermaid or dot."
        ) from error
    except subprocess.CalledProcessError as error:
        raise ConfigurationError(
            f"Graphviz's program 'dot' failed with code {error.returncode}: {error.stderr.strip()}."
            " Use --format dot to see what it was given."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(
            f"Graphviz's program 'dot' did not finish within {_DOT_TIMEOUT:g} s. Use --format mermaid or dot."
        ) from error
    return drawn.stdout


FORMATS: Mapping[str, Callable[[Graph, str], str]] = MappingProxyType(
    {"text": _text, "mermaid": _mermaid, "dot": _dot, "svg": _svg}
)
"""Name to what draws it."""


def _identifiers(graph: Graph) -> dict[str | Key[object], str]:
    """Return plain identifiers for steps and given keys, whose names may hold anything."""
    given: dict[str | Key[object], str] = {key: f"given{number}" for number, key in enumerate(graph.given)}
    return given | {step.name: f"step{number}" for number, step in enumerate(graph.order)}


def _edges(graph: Graph) -> Iterator[tuple[str | Key[object], str, str]]:
    """Yield tail, head and label, one for each pair of steps and for each given key and step."""
    for step in graph.order:
        for key in dict.fromkeys(step.needs):
            if graph.provider(key) is None:
                yield key, step.name, key.name
        for tail in graph.order:
            if graph.digraph.has_edge(tail.name, step.name):
                yield tail.name, step.name, ", ".join(graph.digraph.edges[tail.name, step.name]["keys"])


def _names(keys: tuple[Key[object], ...]) -> str:
    return ", ".join(key.name for key in keys)


def _quoted(text: str) -> str:
    """Return a text in double quotes, for DOT and for the YAML above a mermaid diagram."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escaped(text: str) -> str:
    """Return a text in double quotes as mermaid reads it, with characters by their number where it must."""
    return '"' + text.replace("#", "#35;").replace('"', "#quot;") + '"'
