"""When a settlement takes what follows, and for whom."""

from __future__ import annotations

import pytest
from parts import make_message

from celeriac.model.outcome import Action, Verdict
from celeriac.runtime.commits import Item, Stores

pytestmark = pytest.mark.plugins


class Taker:
    """Has so many free slots, and keeps what it is given."""

    queues = ("celeriac.joins", "celery")

    def __init__(self, free: int) -> None:
        self.slots = free
        self.settled: list[int] = []
        self.accepted: list = []

    def free(self, settled):
        self.settled.append(settled)
        return self.slots

    def accept(self, deliveries):
        self.accepted += deliveries


@pytest.fixture
def stores(store):
    """Stores whose transport takes what follows with another call, which is enough for who does not look closely."""
    inner = store.transport.inner
    inner.asked = []

    def settle_and_take(verdicts, queues, *, limit, timeout):
        inner.asked.append((tuple(queues), limit))
        return inner.settle(verdicts, timeout=timeout), inner.receive(["celery"], limit=limit, timeout=0.0)

    inner.settle_and_take = settle_and_take
    made = Stores(store.transport, store.results, 5.0)
    assert made.one_transaction
    return made


def item(held, **verdict):
    return Item(Verdict(delivery=held.delivery, **verdict), held)


def test_what_follows_is_taken_for_who_has_a_free_slot_and_given_when_all_is_settled(stores, store, hold):
    stores.taker = Taker(free=1)
    (held,) = hold()

    assert stores.commit([item(held, followups=(make_message(id="next"),))]) == []

    assert stores.taker.settled[-1] == 1
    assert store.transport.inner.asked == [(("celeriac.joins", "celery"), 1)]
    assert stores.taker.accepted == []
    stores.pass_on()
    stores.pass_on()
    assert [delivery.message.headers["id"] for delivery in stores.taker.accepted] == ["next"]


@pytest.mark.parametrize(
    ("free", "fields"),
    [
        pytest.param(0, {"followups": (make_message(id="next"),)}, id="no slot is free"),
        pytest.param(1, {}, id="nothing follows"),
        pytest.param(
            1,
            {"followups": (make_message(id="next"),), "action": Action.RELEASE},
            id="something goes back, in front of what follows",
        ),
    ],
)
def test_nothing_is_taken_where_it_would_be_of_no_use(stores, store, hold, free, fields):
    stores.taker = Taker(free)
    (held,) = hold()

    assert stores.commit([item(held, **fields)]) == []

    assert store.transport.inner.asked == []
    assert store.depth.waiting == len(fields)


def test_only_runs_that_end_free_their_slots(stores, store, hold):
    stores.taker = Taker(free=1)
    first, second = hold(2)
    acknowledged = Item(Verdict(delivery=second.delivery), second, then=lambda _: None)
    refused = Item(Verdict(delivery=None))

    stores.commit([item(first, followups=(make_message(id="next"),)), acknowledged, refused])

    assert stores.taker.settled[-1] == 1


def test_nothing_is_taken_while_nobody_takes(stores, store, hold):
    (held,) = hold()

    assert stores.commit([item(held, followups=(make_message(id="next"),))]) == []

    assert store.depth.waiting == 1
    stores.pass_on()
