"""On one Redis, workflows of each shape come to the same end with the workers of both sides, whoever sent them."""

from __future__ import annotations

from itertools import product

import pytest
from redis_sides import CANVAS, EITHER, FIRST, OURS, SECONDS, THEIRS, apart, at_work, both_apps
from running import eventually

import celeriac

pytest.importorskip("celeriac_redis")
pytestmark = [
    pytest.mark.server("redis"),
    pytest.mark.timeout(120),
    # Of the other side's own calls of its driver.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


@pytest.fixture
def idle(server_url, request):
    with both_apps(server_url, apart=getattr(request, "param", "one") == "apart") as both:
        yield both


@pytest.fixture
def sides(idle):
    with at_work(idle):
        yield idle


def a_chord_in_a_chain(canvas, task, first, second):
    members = canvas.group(task("add").s(number).set(queue=(first, second)[number % 2]) for number in range(4))
    return canvas.chain(
        task("add").s(1, 1).set(queue=first),
        members,
        task("listed").s().set(queue=second),
        task("total").s().set(queue=first),
    )


def chains_as_members(canvas, task, first, second):
    def member(number):
        return canvas.chain(task("add").s(number, 0).set(queue=first), task("square").s().set(queue=second))

    return canvas.chord([member(number) for number in range(3)], task("listed").s())


def chains_that_end_with_groups(canvas, task, first, second):
    def member(number):
        pair = canvas.group(task("add").s(1).set(queue=second), task("add").s(2).set(queue=first))
        return canvas.chain(task("add").s(number, 0).set(queue=first), pair)

    return canvas.chord([member(0), task("square").s(9).set(queue=second), member(1)], task("listed").s())


def chains_that_end_with_chords(canvas, task, first, second):
    def member(number):
        pair = [task("add").s(1).set(queue=second), task("add").s(2).set(queue=first)]
        return canvas.chain(
            task("add").s(number, 0).set(queue=first), canvas.chord(pair, task("total").s().set(queue=second))
        )

    return canvas.chord([member(0), member(1)], task("listed").s())


def chords_as_members(canvas, task, first, second):
    def member(number):
        pair = [task("square").s(number).set(queue=first), task("square").s(number).set(queue=second)]
        return canvas.chord(pair, task("total").s().set(queue=(first, second)[number % 2]))

    return canvas.chord([member(number) for number in range(3)], task("listed").s().set(queue=second))


def chords_that_end_with_groups(canvas, task, first, second):
    def member(number):
        pair = [task("square").s(number).set(queue=first), task("square").s(number).set(queue=second)]
        both = canvas.group(task("total").s().set(queue=first), task("listed").s().set(queue=second))
        return canvas.chord(pair, both)

    return canvas.chord([member(number) for number in range(3)], task("listed").s().set(queue=second))


def a_group_as_body(canvas, task, first, second):
    members = [task("square").s(number).set(queue=(first, second)[number % 2]) for number in range(4)]
    both = canvas.group(task("total").s().set(queue=first), task("listed").s().set(queue=second))
    return canvas.chord(members, both)


def a_chain_as_body(canvas, task, first, second):
    members = [task("square").s(number).set(queue=(first, second)[number % 2]) for number in range(4)]
    return canvas.chord(members, canvas.chain(task("total").s().set(queue=first), task("add").s(1).set(queue=second)))


def a_group_after_a_group(canvas, task, first, second):
    members = canvas.group(task("square").s(number).set(queue=(first, second)[number % 2]) for number in range(3))
    both = canvas.group(task("total").s().set(queue=first), task("listed").s().set(queue=second))
    return canvas.chain(members, both, task("listed").s().set(queue=first))


SHAPES = {
    a_chord_in_a_chain: 14,
    chains_as_members: [0, 1, 4],
    chains_that_end_with_groups: [[1, 2], 81, [2, 3]],
    chains_that_end_with_chords: [3, 5],
    chords_as_members: [0, 2, 8],
    chords_that_end_with_groups: [[0, [0, 0]], [2, [1, 1]], [8, [4, 4]]],
    a_group_as_body: [14, [0, 1, 4, 9]],
    a_chain_as_body: 15,
    a_group_after_a_group: [5, [0, 1, 4]],
}


def a_header_that_fails_in_a_header(canvas, task, first, second):
    inner = canvas.chord([task("fail").s("ValueError", "no").set(queue=first), task("square").s(1).set(queue=second)])
    inner.body = task("total").s()
    return canvas.chord([inner, task("square").s(2).set(queue=second)], task("listed").s())


def a_header_that_fails_before_a_chain(canvas, task, first, second):
    members = [task("fail").s("ValueError", "no").set(queue=first), task("square").s(1).set(queue=second)]
    return canvas.chord(members, canvas.chain(task("listed").s(), task("listed").s()))


def a_header_that_fails_in_a_chain(canvas, task, first, second):
    members = canvas.group(task("fail").si("ValueError", "no").set(queue=first), task("square").s().set(queue=second))
    return canvas.chain(task("square").s(1).set(queue=second), members, task("listed").s(), task("listed").s())


def a_chain_that_fails_before_the_group_it_ends_with(canvas, task, first, second):
    pair = canvas.group(task("square").s().set(queue=first), task("square").s().set(queue=second))
    member = canvas.chain(task("fail").si("ValueError", "no").set(queue=first), pair)
    return canvas.chord([member, task("square").s(1).set(queue=second)], task("listed").s())


FAILING = [
    a_header_that_fails_in_a_header,
    a_header_that_fails_before_a_chain,
    a_header_that_fails_in_a_chain,
    a_chain_that_fails_before_the_group_it_ends_with,
]


@apart
@pytest.mark.parametrize("queues", list(product((THEIRS, OURS), repeat=2)), ids="-".join)
@pytest.mark.parametrize("shape", FAILING, ids=lambda shape: shape.__name__)
def test_workflows_of_ours_fail_to_their_end_whoever_runs_their_members(sides, queues, shape):
    result = shape(celeriac, lambda name: sides.task("ours", name), *queues).apply_async()
    last = sides.apps["ours"].AsyncResult(result.id)  # without those that it waits for

    with pytest.raises(Exception, match=r"Dependency .* raised"):
        last.get(timeout=SECONDS)
    assert type(last.result).__name__ == "ChordError"  # of the side that sent the chord: a step may run on either
    assert sides.runs == {}
    # A member that ends on Celery's side after its chord has failed leaves a part, which expires as Celery's parts do.
    eventually(lambda: not sides.kept(), "what is left expires")


@apart
@FIRST
@EITHER
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_workflows_of_each_shape_come_to_the_same_end(sides, client, queues, shape):
    result = shape(CANVAS[client], lambda name: sides.task(client, name), *queues).apply_async()

    assert result.get(timeout=SECONDS) == SHAPES[shape]
    assert set(sides.runs.values()) == {1}
    eventually(lambda: not sides.left(), f"nothing is left: {sides.left()}")
