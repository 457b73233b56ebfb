"""Messages that come back to the worker that runs them, or has run them."""

import pytest
from msgspec.structs import replace
from parts import make_message, make_outcome

from celeriac.model.outcome import Action, Verdict

pytestmark = pytest.mark.plugins


@pytest.fixture
def attached(settler, store):
    settler.attach(store.transport, store.results, lambda error: None)
    return settler


@pytest.fixture
def returned(store):
    """Have the broker take back what is held, and take it again as a new connection of this worker would."""

    def returned(*deliveries):
        assert (
            store.transport.settle([Verdict(delivery=one, action=Action.RELEASE) for one in deliveries], timeout=1)
            == []
        )
        return store.take(len(deliveries))

    return returned


def test_a_run_that_goes_on_gets_its_message_and_is_settled_with_it(attached, store, hold, returned, inflight):
    (held,) = hold()
    attached.regaining.lose()
    (again,) = returned(held.delivery)

    assert attached.regain([again]) == []
    attached.report([make_outcome(held.request.key)])
    assert attached.flush(5)

    assert (store.depth.held, store.depth.waiting, len(inflight)) == (0, 0, 0)
    assert attached.refused == 0
    assert attached.regaining.regained == 1


def test_a_message_whose_run_ended_without_a_connection_is_settled_by_that_run(attached, store, hold, returned):
    (held,) = hold()
    attached.regaining.lose()
    (again,) = returned(held.delivery)
    attached.report([make_outcome(held.request.key)])
    assert attached.flush(5)
    assert attached.refused == 1

    assert attached.regain([again]) == []
    assert attached.flush(5)

    assert (store.depth.held, store.depth.waiting) == (0, 0)
    assert store.results.get(["id-1"], timeout=1)["id-1"].state == "SUCCESS"


def test_a_message_that_comes_while_its_verdict_is_under_way_is_settled_all_the_same(settler, store, hold, returned):
    (held,) = hold()
    settler.regaining.lose()
    (again,) = returned(held.delivery)
    settler.report([make_outcome(held.request.key)])
    assert settler.keys() == {held.request.key}  # its verdict names the earlier delivery

    assert settler.regain([again]) == []
    settler.attach(store.transport, store.results, lambda error: None)
    assert settler.flush(5)

    assert (store.depth.held, store.depth.waiting) == (0, 0)


def test_each_of_two_runs_of_one_task_gets_one_message(attached, store, inflight, hold, returned):
    held = [*hold(), *hold()]
    attached.regaining.lose()

    assert attached.regain(returned(*(one.delivery for one in held))) == []
    attached.report([make_outcome(one.request.key) for one in held])
    assert attached.flush(5)

    assert (store.depth.held, len(inflight)) == (0, 0)


def test_what_did_not_run_here_is_admitted(attached, store, hold, returned):
    hold()
    attached.regaining.lose()
    store.put(make_message(id="another"))
    (other,) = store.take()
    assert attached.regain([other]) == [other]

    (again,) = returned(other)

    assert attached.regain([again]) == [again]


def test_another_try_of_the_task_is_admitted(attached, store, hold):
    hold()
    attached.regaining.lose()
    store.put(make_message(id="id-1", retries=1))
    (other,) = store.take()

    assert attached.regain([other]) == [other]


def test_a_message_that_its_run_gave_back_is_admitted(attached, store, hold, returned):
    (held,) = hold()
    attached.regaining.lose()
    (again,) = returned(held.delivery)
    attached.report([make_outcome(held.request.key, action=Action.RELEASE)])
    assert attached.flush(5)

    assert attached.regain([again]) == [again]


def test_only_so_many_endings_are_remembered(attached, hold, returned, monkeypatch):
    monkeypatch.setattr("celeriac.runtime.regaining.REMEMBERED", 1)
    held = hold(2)
    attached.regaining.lose()
    again = returned(*(one.delivery for one in held))
    attached.report([make_outcome(one.request.key) for one in held])
    assert attached.flush(5)

    assert [delivery.message.headers["id"] for delivery in attached.regain(again)] == ["id-1"]


@pytest.fixture
def settled(attached, store, hold):
    """A message that was settled, and comes back all the same: its broker never heard of it."""

    def settled():
        attached.regaining.lose()
        (held,) = hold()
        attached.report([make_outcome(held.request.key)])
        assert attached.flush(5)
        store.put(make_message(id=held.request.id))
        (again,) = store.take()
        return replace(again, deliveries=2)

    return settled


def test_a_message_whose_acknowledgement_was_lost_with_its_connection_is_acknowledged_again(attached, store, settled):
    again = settled()
    attached.regaining.lose()
    attached.regaining.lose()  # the next connection did not last either

    assert attached.regain([again]) == []
    assert attached.flush(5)

    assert (store.depth.held, store.depth.waiting) == (0, 0)


def test_what_was_settled_over_a_connection_that_stands_is_admitted(attached, settled):
    again = settled()

    assert attached.regain([again]) == [again]


def test_what_is_sent_anew_under_the_id_of_a_run_that_was_settled_is_admitted(attached, settled):
    again = settled()
    attached.regaining.lose()

    anew = replace(again, deliveries=1)
    assert attached.regain([anew]) == [anew]
    assert attached.regain([again]) == [again]  # from then on, it is that one which comes back


def test_only_so_many_settlements_are_remembered(attached, store, hold, monkeypatch):
    monkeypatch.setattr("celeriac.runtime.regaining.REMEMBERED", 2)
    attached.regaining.lose()
    for held in hold(4):
        attached.report([make_outcome(held.request.key)])
        assert attached.flush(5)
    attached.regaining.lose()
    store.put(*(make_message(id=f"id-{number}") for number in range(1, 5)))
    again = [replace(each, deliveries=2) for each in store.take(4)]

    assert [each.message.headers["id"] for each in attached.regain(again)] == ["id-1", "id-2"]
