"""`left | right`: what two signatures become.

| left | right | result |
|---|---|---|
| task | task, chain | a chain of all steps |
| group | task, chain, chord, group | a chord with the group as its header |
| chord | task, chord, group of one | the chord, its body followed by it |
| … ending in a group | task, chord | … ending in a chord with that group as its header |
| … ending in a chord | task, group | … ending in that chord, its body followed by it |
| task, chain | group of one | as with its only member |
| any but a task | empty group | the left one |

Everything else becomes a chain of the two. Operands stay as they are; chains and chords that grow are copied. Source:
Celery 5.7, by running every combination (tests/interop/test_composing.py).
"""

from __future__ import annotations

from typing import Any

from celeriac.client.canvas.workflows import chain, chord, group
from celeriac.model.signature import Signature

__all__ = ["compose"]


def compose(left: Signature[Any], right: Signature[Any]) -> Signature[Any]:
    """Return what runs `left` and then `right`."""
    if isinstance(left, group):
        return left if _is_empty(right) else chord(left, right)
    if isinstance(left, chain):
        return _after_chain(left, right)
    single = right.unrolled if isinstance(right, group) else right
    if isinstance(left, chord) and not isinstance(right, chain) and not isinstance(single, group):
        return left.extended(single)
    steps = [left, *right.unchained()] if isinstance(right, chain) else [left, single]
    return chain.of(steps)


def _after_chain(left: chain, right: Signature[Any]) -> Signature[Any]:
    if _is_empty(right):
        return left
    if isinstance(right, chain):
        grown: Signature[Any] = left
        for step in right.unchained():
            grown = grown | step
        return grown
    single = right.unrolled if isinstance(right, group) else right
    if not isinstance(single, group):
        return _appended(left, single) if single is right else compose(left, single)
    return _appended(left, single) if left.tasks else single


def _appended(left: chain, step: Signature[Any]) -> chain:
    """Return the chain with one more step, joined with the last ones where they belong together."""
    steps = list(left.tasks)
    last = steps[-1] if steps else None
    if isinstance(last, group) and not isinstance(step, group):
        *before, _ = [each.clone() for each in steps]
        joined = chord(last, step)
        if before and isinstance(previous := before[-1], chord):
            before, joined = before[:-1], previous.extended(joined)
        return chain.of([*before, joined], left.options, left._app)
    if isinstance(last, chord) and not isinstance(step, chord):
        if isinstance(step, group):
            return chain.of([*left.unchained()[:-1], last.extended(step)], app=left._app)
        return chain.of([*(each.clone() for each in steps[:-1]), last.extended(step)], left.options, left._app)
    return chain.of([*left.unchained(), step], app=left._app)


def _is_empty(step: Signature[Any]) -> bool:
    return isinstance(step, group) and not step.tasks


Signature.composer = compose
