"""Start in order, stop in reverse, and what happens in between when something fails."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

from celeriac.errors import DeadlineExceeded, GraphError, TransportLost, UndeclaredNeed, UndeclaredProvide
from celeriac.kernel.boot import Running, start
from celeriac.kernel.graph import Graph
from celeriac.kernel.steps import Boot, Key, Step
from celeriac.testing.clock import VirtualClock

Hook = Callable[[Boot], object]

A, B, C = Key[str]("a"), Key[str]("b"), Key[str]("c")


class Link(Step):
    """One step of the chain a -> b -> c, which logs what it does."""

    def __init__(
        self, log: list[str], key: Key[str], needs: tuple[Key[str], ...] = (), then: Hook | None = None
    ) -> None:
        self.name = key.name
        self.needs = needs
        self.provides = (key,)
        self.log = log
        self.then = then

    def start(self, boot: Boot) -> None:
        self.log.append(f"start {self.name}")
        boot.defer(lambda: self.log.append(f"stop {self.name}"))
        boot.provide(self.provides[0], f"value of {self.name}")
        if self.then:
            self.then(boot)


def chain(log: list[str], **then: Hook) -> Graph:
    links = [(A, ()), (B, (A,)), (C, (B,))]
    return Graph([Link(log, key, needs, then.get(key.name)) for key, needs in links])


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


STARTED = ["start a", "start b", "start c"]
STOPPED = ["stop c", "stop b", "stop a"]


def test_steps_start_in_order_and_stop_in_reverse() -> None:
    log: list[str] = []

    running = start(chain(log), {}, timeout=5.0)
    started = running.steps
    running.stop(timeout=5.0)

    assert started == ("a", "b", "c")
    assert log == STARTED + STOPPED
    assert running.steps == ()


def test_clean_ups_of_one_step_run_in_reverse_too() -> None:
    log: list[str] = []

    def more(boot: Boot) -> None:
        boot.defer(lambda: log.append("second"))
        boot.defer(lambda: log.append("third"))

    start(chain(log, b=more), {}, timeout=5.0).stop(timeout=5.0)

    assert log[3:] == ["stop c", "third", "second", "stop b", "stop a"]


def test_what_is_given_and_provided_can_be_asked_for() -> None:
    app: Key[str] = Key("app")
    taken: list[str] = []
    link = Link([], A, (app,), then=lambda boot: taken.append(boot.get(app)))

    running = start(Graph([link], given=[app]), {app: "the app"}, timeout=5.0)

    assert taken == ["the app"]
    assert running.get(app) == "the app"
    assert running.get(A) == "value of a"
    assert A in running
    assert B not in running


def test_asking_for_what_nobody_provides_names_the_nearest() -> None:
    running = start(Graph([Link([], Key("pool"))]), {}, timeout=5.0)

    with pytest.raises(GraphError, match=r"No boot step provides 'pol'\. Did you mean 'pool'\?"):
        running.get(Key("pol"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "Missing: app. Not expected: none."),
        ({Key("app"): 1, Key("clock"): 2}, "Missing: none. Not expected: clock."),
    ],
)
def test_values_that_do_not_match_are_refused_before_anything_starts(values: dict[Key[Any], Any], message: str) -> None:
    log: list[str] = []
    graph = Graph([Link(log, A)], given=[Key("app")])

    with pytest.raises(GraphError, match=message):
        start(graph, values, timeout=5.0)

    assert log == []


def test_the_callers_values_are_left_alone() -> None:
    values: dict[Key[Any], Any] = {}

    start(chain([]), values, timeout=5.0)

    assert values == {}


# -- twice, and in the wrong order -----------------------------------------------------------------


def test_stopping_twice_stops_once() -> None:
    log: list[str] = []
    running = start(chain(log), {}, timeout=5.0)

    running.stop(timeout=5.0)
    running.stop(timeout=5.0)

    assert log == STARTED + STOPPED


def test_stopping_again_after_a_failed_stop_does_nothing() -> None:
    log: list[str] = []
    running = start(chain(log, c=lambda boot: boot.defer(lambda: 1 / 0)), {}, timeout=5.0)

    with pytest.raises(ExceptionGroup):
        running.stop(timeout=5.0)
    running.stop(timeout=5.0)

    assert log == STARTED + STOPPED


def test_stopping_before_anything_was_started_does_nothing() -> None:
    running = start(Graph([]), {}, timeout=5.0)

    running.stop(timeout=5.0)

    assert running.steps == ()


def test_a_graph_started_twice_runs_twice_each_with_its_own_values() -> None:
    log: list[str] = []
    graph = Graph([Link(log, A)])

    first = start(graph, {}, timeout=5.0)
    second = start(graph, {}, timeout=5.0)
    first.stop(timeout=5.0)

    assert log == ["start a", "start a", "stop a"]
    assert second.steps == ("a",)


def test_stopping_from_within_a_clean_up_does_not_stop_twice() -> None:
    log: list[str] = []
    runnings: list[Running] = []
    graph = chain(log, c=lambda boot: boot.defer(lambda: runnings[0].stop(timeout=0.5)))
    runnings.append(start(graph, {}, timeout=5.0))

    runnings[0].stop(timeout=5.0)

    assert log == STARTED + STOPPED


def test_a_second_stop_from_another_thread_only_shortens_the_time_left() -> None:
    clock = VirtualClock()
    stopping, go_on = threading.Event(), threading.Event()
    left: list[float] = []

    def slow(boot: Boot) -> None:
        def wait() -> None:
            stopping.set()
            assert go_on.wait(10)
            left.append(boot.remaining())

        boot.defer(wait)

    running = start(chain([], c=slow), {}, timeout=5.0, clock=clock)
    thread = threading.Thread(target=running.stop, args=(60.0,))
    thread.start()
    assert stopping.wait(10)

    running.stop(timeout=2.0)
    running.stop(timeout=30.0)
    go_on.set()
    thread.join(10)

    assert left == [2.0]


# -- a start that fails ----------------------------------------------------------------------------


def test_a_failing_start_unwinds_what_had_started_and_is_raised_as_it_is() -> None:
    log: list[str] = []
    error = TransportLost("no route to host")

    with pytest.raises(TransportLost) as caught:
        start(chain(log, b=failing(error)), {}, timeout=5.0)

    assert caught.value is error
    assert error.__notes__ == [f"while starting boot step 'b' ({__name__}.Link)"]
    assert log == ["start a", "start b", "stop b", "stop a"]


def test_a_failing_start_whose_clean_up_fails_keeps_all_errors() -> None:
    log: list[str] = []
    graph = chain(
        log,
        a=lambda boot: boot.defer(failing(OSError("first"))),
        b=lambda boot: boot.defer(failing(ValueError("second"))),
        c=failing(TransportLost("no route to host")),
    )

    with pytest.raises(ExceptionGroup) as caught:
        start(graph, {}, timeout=5.0)

    assert [str(error) for error in caught.value.exceptions] == ["no route to host", "second", "first"]
    assert caught.value.exceptions[1].__notes__ == [f"while stopping boot step 'b' ({__name__}.Link)"]
    assert log == STARTED + STOPPED


def test_one_way_of_catching_takes_an_error_alone_and_among_others() -> None:
    lost = failing(TransportLost("no route to host"))
    alone = chain([], c=lost)
    grouped = chain([], b=lambda boot: boot.defer(failing(OSError("x"))), c=lost)

    caught: list[int] = []
    for graph in (alone, grouped):
        try:
            start(graph, {}, timeout=5.0)
        except* TransportLost as group:
            caught.append(len(group.exceptions))
        except* OSError:
            pass

    assert caught == [1, 1]


def test_an_interrupted_start_unwinds_as_well() -> None:
    log: list[str] = []

    with pytest.raises(KeyboardInterrupt):
        start(chain(log, b=failing(KeyboardInterrupt())), {}, timeout=5.0)

    assert log == ["start a", "start b", "stop b", "stop a"]


def test_a_step_that_does_as_it_did_not_declare_fails_the_start() -> None:
    log: list[str] = []

    with pytest.raises(UndeclaredProvide, match="'b' provides without declaring it 'x'"):
        start(chain(log, b=lambda boot: boot.provide(Key("x"), 1)), {}, timeout=5.0)
    with pytest.raises(UndeclaredNeed, match="'c' takes 'a' without declaring it"):
        start(chain([], c=lambda boot: boot.get(A)), {}, timeout=5.0)

    assert log == ["start a", "start b", "stop b", "stop a"]


def test_a_step_that_never_provides_what_it_declares_fails_the_start() -> None:
    log: list[str] = []

    class Empty(Step):
        name = "empty"
        provides = (A,)

        def start(self, boot: Boot) -> None:
            boot.defer(lambda: log.append("stop empty"))

    with pytest.raises(UndeclaredProvide, match="'empty' declares but never provides 'a'"):
        start(Graph([Empty]), {}, timeout=5.0)

    assert log == ["stop empty"]


# -- deadlines -------------------------------------------------------------------------------------


def test_a_step_is_told_when_the_start_has_to_be_over() -> None:
    clock = VirtualClock()
    told: list[tuple[float, float]] = []

    def ask(boot: Boot) -> None:
        told.append((boot.deadline, boot.remaining()))
        clock.advance(2.0)

    start(chain([], a=ask, b=ask), {}, timeout=5.0, clock=clock)

    assert told == [(5.0, 5.0), (5.0, 3.0)]


def test_a_step_that_takes_too_long_fails_the_start_by_its_name() -> None:
    clock = VirtualClock()
    log: list[str] = []
    graph = chain(log, b=lambda _: clock.advance(7.0))

    with pytest.raises(DeadlineExceeded, match="Starting boot step 'b' gave no answer within 5 s"):
        start(graph, {}, timeout=5.0, clock=clock)

    assert log == ["start a", "start b", "stop b", "stop a"]


def test_a_start_without_limit_is_possible() -> None:
    running = start(chain([]), {}, timeout=math.inf)

    running.stop(timeout=math.inf)


def test_clean_ups_of_a_failed_start_have_a_time_of_their_own() -> None:
    clock = VirtualClock()
    left: list[float] = []
    graph = chain([], a=lambda boot: boot.defer(lambda: left.append(boot.remaining())), b=lambda _: clock.advance(60.0))

    with pytest.raises(DeadlineExceeded):
        start(graph, {}, timeout=5.0, unwind_timeout=3.0, clock=clock)

    assert left == [3.0]


def test_clean_ups_share_the_time_of_the_stop() -> None:
    clock = VirtualClock()
    left: list[float] = []

    def ask(boot: Boot) -> None:
        boot.defer(lambda: clock.advance(4.0))
        boot.defer(lambda: left.append(boot.remaining()))

    running = start(chain([], a=ask, b=ask), {}, timeout=5.0, clock=clock)
    clock.advance(100.0)
    running.stop(timeout=10.0)

    assert left == [10.0, 6.0]


def test_a_clean_up_that_overruns_is_reported_and_the_rest_still_run() -> None:
    clock = VirtualClock()
    log: list[str] = []
    graph = chain(log, c=lambda boot: boot.defer(lambda: clock.advance(20.0)))
    running = start(graph, {}, timeout=5.0, clock=clock)

    with pytest.raises(ExceptionGroup) as caught:
        running.stop(timeout=10.0)

    assert [str(error) for error in caught.value.exceptions] == ["Stopping boot step 'c' gave no answer within 10 s."]
    assert log == STARTED + STOPPED


# -- clean-ups that fail ---------------------------------------------------------------------------


def test_a_clean_up_that_raises_does_not_stop_the_others() -> None:
    log: list[str] = []
    graph = chain(
        log,
        a=lambda boot: boot.defer(failing(OSError("disk"))),
        c=lambda boot: boot.defer(failing(ValueError("state"))),
    )
    running = start(graph, {}, timeout=5.0)

    with pytest.raises(ExceptionGroup, match="did not stop cleanly") as caught:
        running.stop(timeout=5.0)

    assert [str(error) for error in caught.value.exceptions] == ["state", "disk"]
    assert caught.value.exceptions[0].__notes__ == [f"while stopping boot step 'c' ({__name__}.Link)"]
    assert log == STARTED + STOPPED


def test_an_interrupt_in_a_clean_up_is_kept_until_all_have_run() -> None:
    log: list[str] = []
    running = start(chain(log, b=lambda boot: boot.defer(failing(KeyboardInterrupt()))), {}, timeout=5.0)

    with pytest.raises(BaseExceptionGroup) as caught:
        running.stop(timeout=5.0)

    assert isinstance(caught.value.exceptions[0], KeyboardInterrupt)
    assert log == STARTED + STOPPED
