"""Many threads and many holders: every message is taken once, and none is lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from functools import partial

from celeriac.model.outcome import Action
from celeriac.spi.transport import Transport
from celeriac.testing.contracts.bench import TIMEOUT
from celeriac.testing.contracts.transports.bench import TransportBench, TransportTests, bodies

__all__ = ["Sharing"]


class _Tally:
    """What several threads have taken together."""

    def __init__(self, expected: int, patience: float) -> None:
        self.seen: Counter[str] = Counter()
        self._expected = expected
        self._lock = threading.Lock()
        self._end = time.monotonic() + patience * 0.8

    def add(self, texts: list[str]) -> None:
        with self._lock:
            self.seen.update(texts)

    @property
    def finished(self) -> bool:
        with self._lock:
            return self.seen.total() >= self._expected or time.monotonic() > self._end


class Sharing(TransportTests):
    """Several connections at once."""

    def test_two_holders_taking_from_one_queue_never_share_a_message(self, bench: TransportBench) -> None:
        holders = [bench.connect("a"), bench.connect("b"), bench.connect("c")]
        texts = [str(number) for number in range(300)]
        bench.publish(holders[0], *texts)
        tally = _Tally(len(texts), bench.patience)

        for taking in [bench.background(partial(_consume, bench, one, tally)) for one in holders]:
            bench.outcome(taking)

        assert tally.seen == Counter(texts)
        bench.assert_empty(bench.connect("d"))

    def test_threads_may_share_one_connection(self, bench: TransportBench) -> None:
        transport = bench.connect()
        tally = _Tally(200, bench.patience)

        publishing = [bench.background(partial(_publish_some, bench, transport, start)) for start in (0, 50, 100, 150)]
        taking = [bench.background(lambda: _consume(bench, transport, tally)) for _ in range(2)]
        for future in publishing + taking:
            bench.outcome(future)

        assert tally.seen == Counter(str(number) for number in range(200))

    def test_hand_backs_under_way_lose_and_double_nothing(self, bench: TransportBench) -> None:
        keeper, returner = bench.connect("a"), bench.connect("b")
        texts = [str(number) for number in range(100)]
        bench.publish(keeper, *texts)
        tally = _Tally(len(texts), bench.patience)

        def hand_back() -> None:
            while not tally.finished:
                taken = bench.look(returner, limit=5)
                bench.settle(returner, *taken, action=Action.RELEASE, counted=False)

        futures = [bench.background(hand_back), bench.background(lambda: _consume(bench, keeper, tally))]
        for future in futures:
            bench.outcome(future)

        assert tally.seen == Counter(texts)


def _publish_some(bench: TransportBench, transport: Transport, start: int) -> None:
    for number in range(start, start + 50):
        bench.publish(transport, str(number))


def _consume(bench: TransportBench, transport: Transport, tally: _Tally) -> None:
    while not tally.finished:
        taken = bench.look(transport, limit=7)
        tally.add(bodies(taken))
        bench.settle(transport, *taken)
    transport.settle([], timeout=TIMEOUT)
