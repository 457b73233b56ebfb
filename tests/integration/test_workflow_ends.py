"""What the body of a chord gets, and which callbacks run, for each way in which a member can end."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime

import pytest
from running import eventually, running
from sites import PLACES, place
from workflow_tasks import define

from celeriac import Celeriac, chain, chord, group
from celeriac.client.canvas import planning
from celeriac.errors import ChordError, Reject, TaskRevokedError

SECONDS = 20
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Site:
    def __init__(self, conf):
        self.runs = Counter()
        self.app = Celeriac("ends", set_as_current=False)
        self.app.conf.update(conf)
        define(self.app, self.runs)

        @self.app.task(name="adds", bind=True)
        def adds(self, number):
            if number:
                self.add_to_chord(adds.s(number - 1))
            return number

        @self.app.task(name="adds_and_fails", bind=True, max_retries=1)
        def adds_and_fails(self):
            self.add_to_chord(self.app.tasks["mark"].si(self.request.retries))
            if self.request.retries == 0:
                raise self.retry(countdown=0)
            return "done"

        @self.app.task(name="sleeps")
        def sleeps(seconds):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.01)

    def __getattr__(self, name):
        return self.app.tasks[name]

    def member(self, kind):
        """Return a call of `mark` or one that ends otherwise, with a callback 1 and an error callback 2."""
        if kind == "expired":
            call = self.mark.s(7).set(expires=LONG_AGO)
        elif kind == "revoked":
            call = self.mark.s(7).set(task_id=self.app.new_id())
            self.app.revoke([call.id])
        else:
            call = self.app.tasks[kind].s(7)
        call.link(self.note.s(1))
        call.link_error(self.errnote.s(2))
        return call

    def body(self):
        """Return a call of `mark` with a callback 3 and an error callback 4."""
        call = self.mark.s("body")
        call.link(self.note.s(3))
        call.link_error(self.errnote.s(4))
        return call

    def told(self):
        """Return which callbacks ran, when there is nothing left to do."""
        eventually(self.quiet, "nothing is left to do")
        return sorted(self.runs[task, tag] * [tag] for task, tag in [*self.runs] if task in ("note", "errnote"))

    def quiet(self):
        depths = self.app.connections.transport().depths(timeout=10)
        return not any(depth.waiting + depth.delayed + depth.held for depth in depths)


@pytest.fixture(scope="module", params=PLACES)
def whole(request, tmp_path_factory):
    with place(request.param, tmp_path_factory.mktemp("ends")) as conf:
        site = Site(conf)
        with running(site.app, pool="threads", concurrency=4):
            yield site
        site.app.close()


@pytest.fixture
def site(whole):
    eventually(whole.quiet, "the test before left nothing to do")
    whole.runs.clear()
    return whole


@pytest.mark.parametrize(
    ("kind", "value", "callbacks"),
    [
        ("mark", [7], [[1], [3]]),
        ("again", [7], [[1], [3]]),
        ("handed", [[7], 7], [[1], [3]]),
        ("spread", [[7], [7]], [[1], [3]]),
        ("silent", [7], [[1], [3]]),
        ("ignored", None, [[3]]),
    ],
)
def test_a_body_gets_the_value_of_a_member_that_came_to_a_good_end(site, kind, value, callbacks):
    result = chord([site.member(kind), site.mark.s("other")], site.body()).apply_async()

    assert result.get(timeout=SECONDS) == [[value, ["other"]], "body"]
    assert site.told() == callbacks


@pytest.mark.parametrize(
    ("kind", "callbacks"),
    [
        ("boom", [[2], [4]]),
        ("dashed", [[2], [4]]),
        ("torn", [[2], [4]]),
        ("rejected", [[4]]),
        ("revoked", [[4]]),
        ("expired", [[4]]),
    ],
)
@pytest.mark.parametrize("join", ["fail_fast", "wait_all", "quorum:2"])
def test_a_body_fails_once_with_a_member_that_did_not(site, kind, callbacks, join):
    result = chord([site.member(kind), site.mark.s("other")], site.body(), join=join).apply_async()

    with pytest.raises(ChordError, match="Dependency"):
        result.get(timeout=SECONDS)
    assert site.told() == callbacks


@pytest.mark.parametrize("kind", ["boom", "rejected", "revoked", "expired"])
def test_the_later_steps_of_a_chain_end_as_the_one_that_failed(site, kind):
    result = chain(site.member(kind), site.body(), site.body()).apply_async()

    for each in (result, result.parent, result.parent.parent):
        with pytest.raises((ValueError, Reject, TaskRevokedError)):
            each.get(timeout=SECONDS)
    assert site.told() == ([[2]] if kind == "boom" else [])


@pytest.mark.parametrize("kind", ["ignored", "rejected", "revoked", "boom"])
def test_a_chain_that_ends_early_is_no_member_that_is_waited_for_for_ever(site, kind):
    header = [chain(site.member(kind), site.mark.s("never")), site.mark.s("other")]

    result = chord(header, site.body()).apply_async()

    if kind == "ignored":
        assert result.get(timeout=SECONDS) == [[None, ["other"]], "body"]
    else:
        with pytest.raises(ChordError):
            result.get(timeout=SECONDS)


def test_a_body_that_cannot_be_read_is_a_member_that_failed(site):
    other = Celeriac("other", set_as_current=False)
    other.conf.update(broker_url=site.app.conf.broker_url, result_backend=site.app.conf.result_backend)
    header = [other.signature("mark", args=({1, 2},), serializer="pickle"), other.signature("mark", args=(1,))]

    result = chord(header, other.signature("mark"), app=other).apply_async()

    with pytest.raises(ChordError):
        result.get(timeout=SECONDS)
    other.close()


def test_an_empty_header_runs_the_body_with_an_empty_list(site):
    result = chord([], site.body()).apply_async()

    assert result.get(timeout=SECONDS) == [[], "body"]
    assert site.told() == [[3]]


def test_a_header_of_one_gives_a_list_of_one(site):
    assert chord([site.mark.s(1)], site.mark.s(2)).apply_async().get(timeout=SECONDS) == [[[1]], 2]


def test_a_quorum_gives_the_values_that_are_there_in_order(site):
    header = [site.boom.s(1), site.mark.s(2), site.boom.s(3), site.mark.s(4)]

    result = chord(header, site.body(), join="quorum:2").apply_async()

    assert result.get(timeout=SECONDS) == [[[2], [4]], "body"]
    assert site.told() == [[3]]


def test_a_quorum_fails_once_when_it_can_no_longer_be_reached(site):
    header = [site.boom.s(1), site.mark.s(2), site.boom.s(3), site.mark.s(4)]

    result = chord(header, site.body(), join="quorum:3").apply_async()

    with pytest.raises(ChordError):
        result.get(timeout=SECONDS)
    assert site.told() == [[4]]


def test_a_group_that_something_follows_says_when_it_is_done(site):
    followed = chain(group([site.boom.s(1), site.mark.s(2)], join="quorum:1"), site.mark.s(3))

    assert followed.apply_async().get(timeout=SECONDS) == [[[2]], 3]


def test_waiting_for_all_tells_of_a_failure_when_all_have_ended(site):
    header = [site.boom.s(1), site.mark.s(2).set(countdown=1)]

    result = chord(header, site.body(), join="wait_all").apply_async()

    with pytest.raises(ChordError):
        result.get(timeout=SECONDS)
    assert site.runs["mark", 2] == 1


@pytest.mark.parametrize("join", ["most", "quorum:", "quorum:0", "quorum:3", 3])
def test_a_policy_that_there_is_not_is_refused_before_anything_is_published(site, join):
    with pytest.raises(ValueError, match="join"):
        chord([site.mark.s(1), site.mark.s(2)], site.body(), join=join).apply_async()

    assert site.told() == []


def test_members_add_members_whose_values_come_last(site):
    result = chord([site.adds.s(2), site.mark.s("other")], site.mark.s("body")).apply_async()

    (first, second, *added), _ = result.get(timeout=SECONDS)
    assert [first, second] == [2, ["other"]]
    assert sorted(added) == [0, 1]


def test_each_try_of_a_member_adds_its_own(site):
    result = chord([site.adds_and_fails.s()], site.mark.s("body")).apply_async()

    (first, *added), _ = result.get(timeout=SECONDS)
    assert first == "done"
    assert sorted(added) == [[0], [1]]


def test_only_a_member_of_a_chord_can_add_to_it(site):
    with pytest.raises(ValueError, match="not a member of a chord"):
        site.adds.delay(1).get(timeout=SECONDS)


def test_a_member_over_its_time_limit_is_one_that_failed(site):
    slow = site.app.tasks["sleeps"].s(60).set(time_limit=0.5)
    slow.link_error(site.errnote.s(2))

    result = chord([slow, site.mark.s("other")], site.body()).apply_async()

    with pytest.raises(ChordError, match="TimeLimitExceeded"):
        result.get(timeout=SECONDS)
    assert site.told() == [[2], [4]]


def test_a_header_larger_than_a_slice_is_published_in_several_and_joined_as_one(site, monkeypatch):
    monkeypatch.setattr(planning, "SLICE", 10)
    inner = chord([site.mark.s(number) for number in range(15)], site.mark.s("inner"))

    result = chord([*[site.mark.s(number) for number in range(25)], inner], site.mark.s("body")).apply_async()

    values, _ = result.get(timeout=SECONDS)
    assert values == [*[[number] for number in range(25)], [[[number] for number in range(15)], "inner"]]


def test_a_chain_of_many_links_runs_to_its_end(site):
    links = 200

    values = chain(*[site.mark.s(number) for number in range(links)]).apply_async().get(timeout=SECONDS)

    for number in reversed(range(1, links)):
        values, last = values
        assert last == number
