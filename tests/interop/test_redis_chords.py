"""On one Redis, the members of a chord run on workers of both sides, whoever sent it, and its body runs once."""

from __future__ import annotations

import json
import uuid

import pytest
from fleet import Fleet, wait_until
from nursery import killing
from redis_sides import BOTH, EITHER, FIRST, OURS, SECONDS, THEIRS, apart, at_work, both_apps, their_worker
from running import eventually

import celeriac
from celeriac.model.record import GROUP_PREFIX

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


@apart
@FIRST
@EITHER
def test_a_body_gets_what_a_hundred_members_of_both_sides_returned_in_order(sides, client, queues):
    square, listed = sides.task(client, "square"), sides.task(client, "listed")
    members = [square.s(number).set(queue=queues[number % 2]) for number in range(100)]

    result = sides.chord(client, members, listed.s().set(queue=queues[0])).apply_async()

    assert result.get(timeout=SECONDS) == [number * number for number in range(100)]
    assert sides.runs == {result.id: 1}
    assert sides.where == {"ours": 50, "theirs": 50}
    eventually(lambda: not sides.left(), f"nothing is left: {sides.left()}")


@apart
@EITHER
def test_many_chords_on_a_queue_that_both_sides_take_from_run_each_body_once(sides, client):
    square, total = sides.task(client, "square"), sides.task(client, "total")

    results = [
        sides.chord(
            client, [square.s(number).set(queue=BOTH) for number in range(10)], total.s().set(queue=BOTH)
        ).apply_async()
        for _ in range(60)
    ]

    assert [result.get(timeout=SECONDS) for result in results] == [285] * 60
    assert sides.runs == {result.id: 1 for result in results}
    assert sides.where["ours"]
    assert sides.where["theirs"]
    eventually(lambda: not sides.left(), "nothing is left")


@apart
@EITHER
@pytest.mark.parametrize(("fails", "succeeds"), [(THEIRS, OURS), (OURS, THEIRS)], ids=["theirs-fails", "ours-fails"])
@pytest.mark.parametrize("failing", [1, 3])
def test_members_that_fail_fail_the_body_once_wherever_they_run(sides, client, fails, succeeds, failing):
    bad, good = sides.task(client, "fail").s("ValueError", "no"), sides.task(client, "square").s(1)
    members = [bad.clone().set(queue=fails) for _ in range(failing)] + [good.set(queue=succeeds)] * 3
    body = sides.task(client, "listed").s()
    body.link_error(sides.task(client, "failed").s())

    result = sides.chord(client, [each.clone() for each in members], body).apply_async()
    alone = sides.apps[client].AsyncResult(result.id)

    with pytest.raises(Exception, match=r"Dependency .* raised ValueError\('no'\)"):
        alone.get(timeout=SECONDS)
    assert type(alone.result).__name__ == "ChordError"
    eventually(lambda: sides.runs[f"failed {result.id}"], "the error callback")
    eventually(lambda: sides.redis.llen(THEIRS) == sides.redis.llen(OURS) == 0, "nothing waits")
    assert sides.runs == {f"failed {result.id}": 1}


@apart
@pytest.mark.parametrize("how", ["ignores", "rejects"])
def test_members_of_a_celery_clients_chord_may_end_here_without_a_value(sides, how):
    square, ends, listed = (sides.task("theirs", name) for name in ("square", "ends", "listed"))
    members = [ends.s(how).set(queue=OURS), square.s(2).set(queue=THEIRS)]

    result = sides.chord("theirs", members, listed.s()).apply_async()
    alone = sides.apps["theirs"].AsyncResult(result.id)

    if how == "ignores":
        assert alone.get(timeout=SECONDS) == [None, 4]
    else:
        with pytest.raises(Exception, match=r"Dependency .* raised"):
            alone.get(timeout=SECONDS)


@apart
@FIRST
@EITHER
def test_a_chord_grows_by_what_its_members_add_wherever_they_run(sides, client, queues):
    growing, listed = sides.task(client, "growing"), sides.task(client, "listed")
    members = [growing.s(number, queues[(number + 1) % 2]).set(queue=queues[number % 2]) for number in (2, 3)]

    result = sides.chord(client, members, listed.s()).apply_async()

    assert sorted(result.get(timeout=SECONDS)) == [2, 3, 4, 9]
    assert sides.runs == {result.id: 1}


@FIRST
@EITHER
def test_what_takes_the_place_of_a_member_counts_for_it_wherever_it_runs(sides, client, queues):
    replaced, listed = sides.task(client, "replaced"), sides.task(client, "listed")
    members = [replaced.s(number, queues[(number + 1) % 2]).set(queue=queues[number % 2]) for number in (2, 3)]

    assert sides.chord(client, members, listed.s()).apply_async().get(timeout=SECONDS) == [4, 9]


@apart
@EITHER
@pytest.mark.parametrize("twice", [(THEIRS, OURS), (OURS, OURS), (THEIRS, THEIRS)], ids=str)
def test_members_delivered_twice_count_once_wherever_they_run(idle, client, twice):
    moment, listed = idle.task(client, "moment"), idle.task(client, "listed")
    members = [moment.s(number).set(queue="nobody") for number in range(20)]
    result = idle.chord(client, members, listed.s().set(queue=BOTH)).apply_async()

    with idle.apps["theirs"].connection_for_write() as connection:
        broker = connection.default_channel.client
        for raw in broker.lrange("nobody", 0, -1):
            for queue in twice:
                message = json.loads(raw)
                message["properties"]["delivery_tag"] = str(uuid.uuid4())
                broker.lpush(queue, json.dumps(message))
        with at_work(idle):
            values = result.get(timeout=SECONDS)
            eventually(lambda: broker.llen(THEIRS) == broker.llen(OURS) == 0, "nothing waits")

    assert [number for number, _ in values] == list(range(20))
    assert idle.runs == {result.id: 1}


@EITHER
def test_chords_end_right_while_workers_of_ours_are_killed(idle, client, tmp_path):
    step, total = idle.apps[client].tasks["workflows_app.step"], idle.task(client, "total")
    results = [
        idle.chord(client, [step.s(number).set(queue=BOTH) for number in range(50)], total.s()).apply_async()
        for _ in range(80)
    ]

    with (
        Fleet(tmp_path, broker=idle.apps["ours"].conf.broker_url) as fleet,
        killing(fleet, 4, 0.2, "-Q", BOTH) as nursery,
    ):
        wait_until(nursery.at_work, 30, "ours are at work")
        with their_worker(idle):
            values = [result.get(timeout=90) for result in results]
            eventually(lambda: not idle.left(), "nothing is left")

    assert values == [sum(1 + number for number in range(50))] * 80
    assert nursery.killed
    assert 0 < idle.where["theirs"] < 80 * 50
    assert idle.runs == {result.id: 1 for result in results}


@FIRST
def test_a_quorum_is_decided_at_the_latest_when_all_have_ended(sides, queues):
    square, listed = sides.task("ours", "square"), sides.task("ours", "listed")
    failing = sides.task("ours", "fail").s("ValueError", "no")
    members = [square.s(1).set(queue=queues[0]), failing.set(queue=queues[1]), square.s(2).set(queue=queues[1])]

    result = celeriac.chord(members, listed.s(), join="quorum:2").apply_async()

    assert result.get(timeout=SECONDS) == [1, 4]
    assert sides.runs == {result.id: 1}


def test_a_saved_group_that_names_other_tasks_arranges_nothing(idle):
    square, listed = idle.task("theirs", "square"), idle.task("theirs", "listed")
    result = idle.chord("theirs", [square.s(number).set(queue=OURS) for number in (1, 2)], listed.s()).apply_async()
    other = [[result.parent.id, None], [[["another", None], None]]]
    idle.redis.set(f"{GROUP_PREFIX}{result.parent.id}", json.dumps({"result": other}))

    with at_work(idle):
        assert result.get(timeout=SECONDS) == [1, 4]


@pytest.mark.parametrize("queues", [(OURS, OURS, OURS), (THEIRS, THEIRS, THEIRS)], ids=["ours", "theirs"])
def test_a_body_is_the_child_of_a_member(sides, queues):
    """Of the last one in the header, or, where a worker of Celery's counted the last one, of that."""
    describe = sides.task("ours", "describe")
    members = [sides.task("ours", "square").s(1).set(queue=queue) for queue in queues]

    result = celeriac.chord(members, describe.s().set(queue=OURS)).apply_async()

    told = result.get(timeout=SECONDS)
    assert told["parent_id"] == told["root_id"]
    last = [result.parent[-1].id]
    assert told["parent_id"] in (last if queues[0] == OURS else [member.id for member in result.parent])
