"""Types of workflows, as far as they follow the tasks in them; checked by mypy and pyright, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import Any, assert_type

from celeriac import Celeriac, GroupResult, Signature, chain, chord, chunks, group, xmap

app = Celeriac("types", broker="memory://")


@app.task
def add(x: int, y: int = 1) -> int:
    return x + y


@app.task
def total(values: list[int]) -> int:
    return sum(values)


assert_type(add.s(1).clone((2,)), Signature[int])
assert_type(add.s(1).replace(args=(1, 2)), Signature[int])
assert_type(add.s(1).on_error(add.s()), Signature[int])
assert_type(add.s(1).stamp(batch="b7"), Signature[int])
assert_type(~add.s(1), int)
assert_type(add.s(1).to_mermaid(), str)
assert_type(add.map([1, 2]), Signature[list[int]])
assert_type(add.starmap([(1, 2)]), Signature[list[int]])
assert_type(add.chunks([(1, 2)], 1), chunks)
assert_type(xmap(add.s(), [1, 2]), Signature[list[Any]])
assert_type(group(add.s(1), add.s(2)), group)
assert_type(group(add.s(n) for n in range(3)).skew(), group)
assert_type(group(add.s(1)).tasks, list[Signature[Any]])
assert_type(chord([add.s(1)], total.s()), chord)
assert_type(chord([add.s(1)], total.s()).body, Signature[Any] | None)
assert_type(add.s(1) | add.s(2), Signature[Any])
assert_type(add.s(1) | group(add.s(), add.s()) | total.s(), Signature[Any])
assert_type(chain.of([add.s(1)]), chain)
assert_type(GroupResult[int]("id", [add.delay(1)]).get(timeout=1), list[Any])
assert_type(GroupResult.restore("id"), GroupResult[Any] | None)
assert_type(GroupResult[int]("id").save(), GroupResult[int])


async def from_a_coroutine() -> None:
    assert_type(await GroupResult[int]("id"), list[int])


# What must be refused. An ignore that nothing needs is an error itself, so each of these lines is seen to be one.
add.si("one")  # type: ignore[arg-type]
group(add.s(1)).skew("one")  # type: ignore[arg-type]
