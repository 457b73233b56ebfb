import threading

import pytest
from parts import make_message
from running import eventually

from celeriac import events
from celeriac.errors import InternalError
from celeriac.runtime.admission import Admission
from celeriac.runtime.consumer import Generation
from celeriac.runtime.failures import Failures
from celeriac.runtime.prefetch import LIMIT
from celeriac.runtime.receiver import Receiver
from celeriac.runtime.recording import Recorder

pytestmark = pytest.mark.plugins


@pytest.fixture
def generation():
    return Generation(1)


@pytest.fixture
def halted():
    return threading.Event()


@pytest.fixture
def receiver(celeriac_app, store, generation, inflight, prefetch, settler, slots, clock, halted):
    app = celeriac_app
    app.task(lambda: None, name="echo")
    app.task(lambda: None, name="once", acks_late=False)
    settler.attach(store.transport, store.results, generation.lose)
    receiver = Receiver(
        generation=generation,
        transport=store.transport,
        queues=["celery"],
        admission=Admission(app, Failures(app, Recorder(app, "box"), "box"), inflight, None, clock),
        inflight=inflight,
        prefetch=prefetch,
        settler=settler,
        pool=slots,
        halted=halted.is_set,
    )
    yield receiver
    generation.end()
    receiver.stop(5)


def test_what_comes_is_submitted_to_the_pool(receiver, store, slots, inflight):
    receiver.start()

    store.put(make_message(id="a"))

    assert [request.id for request in slots.wait_for(1)] == ["a"]
    assert len(inflight) == 1


def test_an_admitted_task_is_told(receiver, store, slots):
    told = []
    listener = events.task_received.connect(lambda sender, request: told.append((sender, request.id)))
    receiver.start()

    store.put(make_message(id="a"))
    slots.wait_for(1)
    events.task_received.disconnect(listener)

    assert told == [("echo", "a")]


def test_no_more_is_held_than_the_target(receiver, store, slots, inflight):
    store.put(*[make_message()] * 5)
    receiver.start()

    slots.wait_for(1)
    inflight.remove([slots.waiting[0].key])
    slots.wait_for(2)

    assert len(inflight) == 1
    assert store.depth.waiting == 3


def test_what_is_acknowledged_first_runs_after_that(receiver, store, slots):
    store.put(make_message("once"))
    receiver.start()

    slots.wait_for(1)

    assert store.depth.held == 0


def test_what_is_acknowledged_while_the_worker_stops_is_published_anew(receiver, store, slots, settler, inflight):
    settler.detach()
    store.put(make_message("once"))
    receiver.start()
    while not settler.keys():
        threading.Event().wait(0.001)

    receiver.stop(5)
    settler.attach(store.transport, store.results, lambda _: None)
    assert settler.flush(5)
    assert settler.flush(5)

    assert not slots.waiting
    assert store.depth.waiting == 1


def test_ten_thousand_messages_that_nobody_can_run_are_parked_in_batches_and_in_bounded_memory(
    receiver, store, settler, faults
):
    """One at a time would be ten thousand round trips; all at once, ten thousand messages in memory."""
    store.put(*[make_message("nobody.knows")] * 10_000)
    largest = 0
    receive = store.transport.inner._receive

    def watched(queues, limit, timeout):
        nonlocal largest
        largest = max(largest, len(settler.deliveries()))
        return receive(queues, limit, timeout)

    store.transport.inner._receive = watched
    receiver.start()
    eventually(lambda: store.depth.waiting + store.depth.held == 0, "everything parked")

    assert store.transport.calls["receive"] < 50
    assert largest <= 2 * LIMIT


def test_looking_further_ahead_hoards_nothing(receiver, store, slots, settler, inflight):
    store.put(*[make_message("nobody.knows")] * 100, *[make_message("once"), make_message()] * 50)
    receiver.start()

    slots.wait_for(1)
    assert settler.flush(5)

    assert len(inflight) == 1
    assert (store.depth.waiting, store.depth.held) == (99, 1)
    assert [delivery.deliveries for delivery in store.take(1)] == [1]


def test_nothing_is_taken_while_too_much_waits_to_be_settled(receiver, store, settler):
    settler.detach()
    store.put(*[make_message("nobody.knows")] * (3 * LIMIT))
    receiver.start()
    end = threading.Event()

    while store.depth.held <= LIMIT:
        end.wait(0.005)

    assert not end.wait(0.05)
    assert store.depth.held <= 2 * LIMIT


def test_a_pool_that_has_stopped_costs_nothing_but_the_connection(receiver, store, slots, generation, settler):
    """Else they would be held for ever, by a holder that renews."""
    slots.broken = InternalError("stopped")
    store.put(make_message())
    receiver.start()

    generation.wait()
    assert settler.flush(5)

    assert isinstance(generation.error, InternalError)
    assert (store.depth.waiting, store.depth.held) == (1, 0)
    assert [delivery.deliveries for delivery in store.take()] == [1]


@pytest.mark.parametrize("end", ["generation", "halted", "stopping"])
def test_what_comes_after_the_end_goes_back_uncounted(receiver, store, slots, settler, generation, halted, end):
    store.put(make_message())
    ends = {"generation": generation.end, "halted": halted.set, "stopping": receiver._stopping.set}
    receive = store.transport.inner._receive

    def late(queues, limit, timeout):
        ends[end]()
        return receive(queues, limit, timeout)

    store.transport.inner._receive = late
    receiver._receive(1)
    assert settler.flush(5)

    assert not slots.waiting
    assert [delivery.deliveries for delivery in receive(["celery"], 1, 0)] == [1]


def test_what_a_settlement_took_is_submitted(receiver, store, slots, inflight):
    store.put(make_message(id="next"))

    receiver.accept(store.take())

    assert [request.id for request in slots.waiting] == ["next"]
    assert len(inflight) == 1


def test_what_a_settlement_took_goes_back_uncounted_after_the_end(receiver, store, slots, settler, generation):
    store.put(make_message())
    taken = store.take()
    generation.end()

    receiver.accept(taken)

    assert settler.flush(5)
    assert not slots.waiting
    assert [delivery.deliveries for delivery in store.take()] == [1]


def test_a_pool_that_has_stopped_ends_the_connection_and_not_the_settler(receiver, store, slots, generation, settler):
    slots.broken = InternalError("stopped")
    store.put(make_message())

    receiver.accept(store.take())

    assert isinstance(generation.error, InternalError)
    assert settler.flush(5)
    assert (store.depth.waiting, store.depth.held) == (1, 0)


def test_a_slot_is_free_if_nothing_that_is_held_could_have_it(receiver, hold, prefetch, generation):
    prefetch.slots = 2
    assert receiver.free(0) == 2
    hold(3)
    assert receiver.free(1) == 0
    assert receiver.free(2) == 1
    generation.end()
    assert receiver.free(2) == 0


def test_no_slot_is_free_for_what_follows_while_a_batch_is_admitted(receiver, store, slots):
    """It may need them all: which is known only afterwards."""
    seen = []
    slots.submit = lambda requests: seen.append(receiver.free(0))
    store.put(make_message())

    receiver.accept(store.take())

    assert seen == [0]


def test_a_lost_connection_ends_the_thread_and_is_reported(receiver, faults, generation):
    faults.lose("receive")

    receiver.start()
    generation.wait()

    assert "receive" in str(generation.error)


def test_stopping_before_the_start_and_twice_does_nothing(receiver):
    receiver.stop(1)
    receiver.stop(1)


def test_a_stop_does_not_wait_for_a_message(receiver):
    receiver.start()

    receiver.stop(5)

    assert not receiver._thread.is_alive()
