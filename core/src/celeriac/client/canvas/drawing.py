"""Workflows as text and pictures: what calls what, and what waits for what.

A group or the header of a chord is a box around its members. An arrow goes from a step to what gets its result, dashed
to what is called on failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from msgspec import Struct, field

from celeriac.client.canvas.shaping import flat, flat_group, grouped
from celeriac.client.canvas.workflows import chain, chord, group
from celeriac.errors import ConfigurationError, nearest
from celeriac.model.signature import Signature, signature
from celeriac.model.wireform import as_list

__all__ = ["FORMATS", "draw"]

MOST_MEMBERS = 12
"""Of a larger group the first ones are drawn, and how many there are more."""


class Box(Struct):
    """Members side by side; `label` says what they are."""

    label: str
    nodes: list[str] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)


class Picture(Struct):
    """Nodes by their names, boxes around them, and arrows: tail, head, label, whether it is for failures."""

    labels: dict[str, str] = field(default_factory=dict)
    outer: Box = field(default_factory=lambda: Box(""))
    arrows: list[tuple[str, str, str, bool]] = field(default_factory=list)


def draw(sig: Signature[Any], form: str = "text") -> str:
    """Return a signature as `text`, `mermaid` or `dot`; the same text for the same signature.

    Raises: ConfigurationError: no such format.
    """
    if form not in FORMATS:
        raise ConfigurationError(f"No format {form!r}.{nearest(form, FORMATS)} Formats: {', '.join(FORMATS)}.")
    return FORMATS[form](sig)


# -- as a tree of text -----------------------------------------------------------------------------


def _text(sig: Signature[Any]) -> str:
    return "\n".join(_lines(sig)) + "\n"


def _lines(sig: Signature[Any]) -> Iterator[str]:
    yield from _headed(sig)
    for key, sign in (("link", "then"), ("link_error", "on failure")):
        for link in as_list(sig.options.get(key)):
            yield from _indented(sign, _lines(signature(link)))


def _headed(sig: Signature[Any]) -> Iterator[str]:
    if isinstance(sig, chain):
        steps = grouped(flat(sig))
        yield f"chain of {len(steps)}"
        for number, step in enumerate(steps, 1):
            yield from _indented(str(number), _lines(step))
    elif isinstance(sig, group):
        yield from _members(f"group of {len(flat_group(sig))}", flat_group(sig))
    elif isinstance(sig, chord):
        members = flat_group(group(sig.tasks))
        yield from _members(f"chord of {len(members)}", members)
        if sig.body is not None:
            yield from _indented("body", _lines(sig.body))
    else:
        yield _label(sig)


def _members(head: str, members: Sequence[Signature[Any]]) -> Iterator[str]:
    yield head
    for member in members[:MOST_MEMBERS]:
        yield from _indented("-", _lines(member))
    if len(members) > MOST_MEMBERS:
        yield f"  … and {len(members) - MOST_MEMBERS} more"


def _indented(sign: str, lines: Iterator[str]) -> Iterator[str]:
    yield f"  {sign} {next(lines)}"
    for line in lines:
        yield f"  {line}"


def _label(sig: Signature[Any]) -> str:
    text = repr(sig)
    text = text if len(text) <= 60 else text[:59] + "…"
    queue = sig.options.get("queue")
    return f"{text} on {queue}" if isinstance(queue, str) else text


# -- as a graph ------------------------------------------------------------------------------------


class _Drawer:
    """Turns a signature into a picture; each method returns the first and last nodes of what it drew."""

    def __init__(self) -> None:
        self.picture = Picture()

    def node(self, box: Box, label: str) -> str:
        name = f"n{len(self.picture.labels) + 1}"
        self.picture.labels[name] = label
        box.nodes.append(name)
        return name

    def add(self, sig: Signature[Any], box: Box) -> tuple[list[str], list[str]]:
        ends = self._shape(sig, box)
        for key, failed in (("link", False), ("link_error", True)):
            for link in as_list(sig.options.get(key)):
                starts, _ = self.add(signature(link), box)
                self._join(ends[1], starts, "on failure" if failed else "then", failed=failed)
        return ends

    def _shape(self, sig: Signature[Any], box: Box) -> tuple[list[str], list[str]]:
        if isinstance(sig, chain):
            parts = [self.add(step, box) for step in grouped(flat(sig))]
            for (_, tails), (heads, _) in pairwise(parts):
                self._join(tails, heads)
            return (parts[0][0], parts[-1][1]) if parts else ([], [])
        if isinstance(sig, group):
            return self._group(flat_group(sig), box, "group")
        if isinstance(sig, chord):
            starts, tails = self._group(flat_group(group(sig.tasks)), box, "header")
            if sig.body is None:
                return starts, tails
            heads, ends = self.add(sig.body, box)
            self._join(tails, heads, "all")
            return starts or heads, ends
        name = self.node(box, _label(sig))
        return [name], [name]

    def _group(self, members: Sequence[Signature[Any]], box: Box, kind: str) -> tuple[list[str], list[str]]:
        inner = Box(f"{kind} of {len(members)}")
        box.boxes.append(inner)
        parts = [self.add(member, inner) for member in members[:MOST_MEMBERS]]
        if len(members) > MOST_MEMBERS:
            more = [self.node(inner, f"… and {len(members) - MOST_MEMBERS} more")]
            parts.append((more, more))
        return [name for part in parts for name in part[0]], [name for part in parts for name in part[1]]

    def _join(self, tails: Sequence[str], heads: Sequence[str], label: str = "", *, failed: bool = False) -> None:
        self.picture.arrows += [(tail, head, label, failed) for tail in tails for head in heads]


def _drawn(sig: Signature[Any]) -> Picture:
    drawer = _Drawer()
    drawer.add(sig, drawer.picture.outer)
    return drawer.picture


def _mermaid(sig: Signature[Any]) -> str:
    picture = _drawn(sig)
    lines = ["flowchart TD", *_boxed(picture, picture.outer, _mermaid_node, _mermaid_box, "end")]
    for tail, head, label, failed in picture.arrows:
        arrow = "-.->" if failed else "-->"
        lines.append(f"    {tail} {arrow}{f'|{label}|' if label else ''} {head}")
    return "\n".join(lines) + "\n"


def _mermaid_node(name: str, label: str) -> str:
    return f"{name}[{_mermaid_text(label)}]"


def _mermaid_box(number: int, label: str) -> str:
    return f"subgraph g{number}[{_mermaid_text(label)}]"


def _mermaid_text(text: str) -> str:
    """Quote a label; Mermaid knows entities in it, and no backslash."""
    escaped = text.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
    return '"' + escaped.replace("`", "#96;").replace("\n", " ") + '"'


def _dot(sig: Signature[Any]) -> str:
    picture = _drawn(sig)
    lines = ["digraph workflow {", "    node [shape=box];"]
    lines += _boxed(picture, picture.outer, _dot_node, _dot_box, "}")
    for tail, head, label, failed in picture.arrows:
        more = [*([f"label={_dot_text(label)}"] if label else []), *(["style=dashed"] if failed else [])]
        lines.append(f"    {tail} -> {head}" + (f" [{', '.join(more)}];" if more else ";"))
    return "\n".join([*lines, "}"]) + "\n"


def _dot_node(name: str, label: str) -> str:
    return f"{name} [label={_dot_text(label)}];"


def _dot_box(number: int, label: str) -> str:
    return f"subgraph cluster{number} {{ label={_dot_text(label)};"


def _dot_text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def _boxed(
    picture: Picture, box: Box, node: Callable[[str, str], str], start: Callable[[int, str], str], end: str
) -> Iterator[str]:
    """Yield the lines of nodes and boxes, one in the other; boxes are numbered in the order they are met."""
    count = 0

    def lines(inner: Box, indent: str) -> Iterator[str]:
        nonlocal count
        for name in inner.nodes:
            yield indent + node(name, picture.labels[name])
        for each in inner.boxes:
            count += 1
            yield indent + start(count, each.label)
            yield from lines(each, indent + "    ")
            yield indent + end

    yield from lines(box, "    ")


FORMATS: Mapping[str, Callable[[Signature[Any]], str]] = MappingProxyType(
    {"text": _text, "mermaid": _mermaid, "dot": _dot}
)
"""Name to what draws it."""
