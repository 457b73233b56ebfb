"""Stamps: headers by which the tasks of a workflow are known, and revoked, together.

A stamp is an option of a signature whose name its option `stamped_headers` lists. It travels in the headers
`stamped_headers` and `stamps` of the message. A workflow gives what it is stamped with to all its parts, and a
signature to what is linked to it. Source of the rules: Celery 5.7 (tests/interop/test_stamping.py).
"""

# ruff: noqa: B027  the methods of a visitor are to be overridden by who needs them

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celeriac.client.canvas.workflows import chain, chord, group
from celeriac.model.signature import Signature, signature
from celeriac.model.wireform import as_list

__all__ = ["StampingVisitor", "stamp", "stamp_links"]

Headers = dict[str, Any]
Ask = Callable[..., Mapping[str, Any] | None] | None

NAMES = "stamped_headers"


class StampingVisitor(ABC):
    """Is asked for the stamps of each part of a workflow, from the outside in.

    Each method is given the part and the stamps that it has got from outside, and returns headers for it and for
    everything in it. All of them are stamps, unless they have a key `stamped_headers`, a list of those that are; the
    others are options.
    """

    @abstractmethod
    def on_signature(self, sig: Signature[Any], **headers: Any) -> Mapping[str, Any] | None:
        """Return headers for one task."""

    def on_group_start(self, group: group, **headers: Any) -> Mapping[str, Any] | None:
        """Return headers for a group's members."""

    def on_group_end(self, group: group, **headers: Any) -> None:
        """Take notice that the members of a group are stamped."""

    def on_chain_start(self, chain: chain, **headers: Any) -> Mapping[str, Any] | None:
        """Return headers for a chain's steps."""

    def on_chain_end(self, chain: chain, **headers: Any) -> None:
        """Take notice that the steps of a chain are stamped."""

    def on_chord_header_start(self, sig: chord, **headers: Any) -> Mapping[str, Any] | None:
        """Return headers for the members of a chord's header, and its body: by default those of a group of them."""
        return self.on_group_start(group(sig.tasks), **headers)

    def on_chord_header_end(self, sig: chord, **headers: Any) -> None:
        """Take notice that the header of a chord is stamped."""
        self.on_group_end(group(sig.tasks), **headers)

    def on_chord_body(self, sig: chord, **headers: Any) -> Mapping[str, Any] | None:
        """Return headers for a chord's body."""

    def on_callback(self, callback: Signature[Any], **headers: Any) -> Mapping[str, Any] | None:
        """Return headers for what is called after success."""

    def on_errback(self, errback: Signature[Any], **headers: Any) -> Mapping[str, Any] | None:
        """Return headers for what is called after failure."""


def stamp(sig: Signature[Any], visitor: StampingVisitor | None, append: bool, headers: Mapping[str, Any]) -> None:
    """Stamp a signature in place: see `Signature.stamp`."""
    if isinstance(sig, chord):
        _stamp_chord(sig, visitor, append, headers)
    elif isinstance(sig, chain | group):
        _stamp_members(sig, visitor, append, headers)
    else:
        stamp_links(sig, visitor, append, headers)
        asked = visitor.on_signature(sig, **headers) if visitor is not None else None
        sig.set(**_with_own(sig, _joined(headers, asked, append), append))


def stamp_links(sig: Signature[Any], visitor: StampingVisitor | None, append: bool, headers: Mapping[str, Any]) -> None:
    """Stamp what is linked to a signature, in place."""
    asks: Sequence[tuple[str, Ask]] = (
        [("link", None), ("link_error", None)]
        if visitor is None
        else [("link", visitor.on_callback), ("link_error", visitor.on_errback)]
    )
    for key, ask in asks:
        links = [signature(link, app=sig._app) for link in as_list(sig.options.get(key))]
        for link in links:
            stamp(link, visitor, append, _joined(headers, _asked(ask, link, headers), append))
        if links:
            sig.options[key] = links


def _stamp_members(
    sig: chain | group, visitor: StampingVisitor | None, append: bool, headers: Mapping[str, Any]
) -> None:
    start: Ask = None
    if visitor is not None:
        start = visitor.on_chain_start if isinstance(sig, chain) else visitor.on_group_start
    whole = _with_own(sig, _joined(headers, _asked(start, sig, headers), append), append)
    stamp_links(sig, visitor, append, whole)
    for member in sig.tasks:
        stamp(member, visitor, append, whole)
    if visitor is not None:
        end: Any = visitor.on_chain_end if isinstance(sig, chain) else visitor.on_group_end
        end(sig, **whole)


def _stamp_chord(sig: chord, visitor: StampingVisitor | None, append: bool, headers: Mapping[str, Any]) -> None:
    asked = visitor.on_chord_header_start(sig, **headers) if visitor is not None else None
    whole = _with_own(sig, _joined(headers, asked, append), append)
    stamp_links(sig, visitor, append, whole)
    for member in sig.tasks:
        stamp(member, visitor, append, whole)
    asked = None
    if visitor is not None:
        visitor.on_chord_header_end(sig, **whole)
        asked = visitor.on_chord_body(sig, **whole)
    if sig.body is not None:
        stamp(sig.body, visitor, append, _with_own(sig, _joined(whole, asked, append), append))


def _asked(ask: Ask, sig: Signature[Any], headers: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return ask(sig, **headers) if ask is not None else None


def _named(headers: Mapping[str, Any] | None) -> Headers:
    """Return headers with the list of those that are stamps: all, where it is missing."""
    named = dict(headers or {})
    named.setdefault(NAMES, list(named))
    return named


def _joined(outer: Mapping[str, Any], asked: Mapping[str, Any] | None, append: bool) -> Headers:
    """Return headers from outside with those that a visitor gave."""
    return _merged(_named(outer), _named(asked), append)


def _with_own(sig: Signature[Any], headers: Mapping[str, Any], append: bool) -> Headers:
    """Return headers with the stamps that a signature has already."""
    named = {*headers[NAMES], *as_list(sig.options.get(NAMES))}
    own = {name: value for name, value in sig.options.items() if name in named}
    return _merged({**headers, NAMES: list(named)}, {**own, NAMES: []}, append)


def _merged(first: Mapping[str, Any], second: Mapping[str, Any], append: bool) -> Headers:
    """Return both; where both have a name the first stands, or with `append` both in a list. Lists are joined."""
    merged = {**second, **first}
    for name in first.keys() & second.keys():
        merged[name] = _both(first[name], second[name], append)
    merged[NAMES] = sorted({*first[NAMES], *second[NAMES]})
    return merged


def _both(first: Any, second: Any, append: bool) -> Any:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return {**second, **first, **{key: _both(first[key], second[key], append) for key in first.keys() & second}}
    if isinstance(first, list) and isinstance(second, list):
        return [*first, *second]
    if not append:
        return first
    return [*(first if isinstance(first, list | tuple | set) else [] if first is None else [first]), second]
