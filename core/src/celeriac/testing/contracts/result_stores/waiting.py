"""Waiting: who watches a result is told when it is ready."""

from __future__ import annotations

from contextlib import suppress

from celeriac.errors import StoreError
from celeriac.model.record import FAILURE, RETRY, STARTED, SUCCESS
from celeriac.testing.contracts.bench import TIMEOUT
from celeriac.testing.contracts.result_stores.bench import ResultsBench, ResultStoreTests, record

__all__ = ["Waiting"]


class Waiting(ResultStoreTests):
    """For stores that declare `waits`."""

    def test_a_watched_result_is_announced_when_it_is_ready(self, bench: ResultsBench) -> None:
        store, writer = bench.connect("a"), bench.connect("b")
        waits = bench.require_waits(store)
        waits.watch(["1", "2"], timeout=TIMEOUT)
        waiting = bench.background(lambda: waits.changed(timeout=60))

        bench.put(writer, record("1", payload=b"x"))

        found = bench.outcome(waiting) or bench.announced(waits)
        assert {id_: (one.state, one.payload) for id_, one in found.items()} == {"1": (SUCCESS, b"x")}

    def test_several_results_are_all_announced(self, bench: ResultsBench) -> None:
        store, writer = bench.connect("a"), bench.connect("b")
        waits = bench.require_waits(store)
        ids = {str(number) for number in range(100)}
        waits.watch(ids, timeout=TIMEOUT)

        for id_ in sorted(ids):
            bench.put(writer, record(id_))

        found: set[str] = set()
        while more := bench.announced(waits):
            found.update(more)
            if found == ids:
                break
        assert found == ids

    def test_a_state_that_is_not_ready_is_not_announced(self, bench: ResultsBench) -> None:
        store = bench.connect()
        waits = bench.require_waits(store)
        waits.watch(["1"], timeout=TIMEOUT)

        bench.put(store, record("1", STARTED), record("1", RETRY))

        assert bench.silent(waits)

    def test_what_nobody_watches_is_not_announced(self, bench: ResultsBench) -> None:
        store = bench.connect()
        waits = bench.require_waits(store)
        waits.watch(["1"], timeout=TIMEOUT)

        bench.put(store, record("2"))

        assert bench.silent(waits)

    def test_a_result_stays_watched(self, bench: ResultsBench) -> None:
        store = bench.connect()
        waits = bench.require_waits(store)
        waits.watch(["1"], timeout=TIMEOUT)
        bench.put(store, record("1", FAILURE))
        assert bench.announced(waits)["1"].state == FAILURE

        bench.put(store, record("1", SUCCESS))

        assert bench.announced(waits)["1"].state == SUCCESS

    def test_what_is_no_longer_watched_is_not_announced(self, bench: ResultsBench) -> None:
        store = bench.connect()
        waits = bench.require_waits(store)
        waits.watch(["1", "2"], timeout=TIMEOUT)

        waits.unwatch(["1", "never watched"], timeout=TIMEOUT)
        bench.put(store, record("1"))

        assert bench.silent(waits)
        bench.put(store, record("2"))
        assert set(bench.announced(waits)) == {"2"}

    def test_an_id_may_be_watched_while_another_thread_waits(self, bench: ResultsBench) -> None:
        store, writer = bench.connect("a"), bench.connect("b")
        waits = bench.require_waits(store)
        waits.watch(["1"], timeout=TIMEOUT)
        waiting = bench.background(lambda: waits.changed(timeout=60))
        bench.is_blocked(waiting)

        waits.watch(["2"], timeout=TIMEOUT)
        bench.put(writer, record("2"))

        found = bench.outcome(waiting) or bench.announced(waits)
        assert set(found) == {"2"}

    def test_every_connection_that_watches_is_told(self, bench: ResultsBench) -> None:
        stores = [bench.connect("a"), bench.connect("b")]
        for store in stores:
            bench.require_waits(store).watch(["1"], timeout=TIMEOUT)

        bench.put(stores[0], record("1"))

        for store in stores:
            assert set(bench.announced(bench.require_waits(store))) == {"1"}

    def test_waiting_ends_after_its_timeout(self, bench: ResultsBench) -> None:
        store = bench.connect()
        waits = bench.require_waits(store)

        assert bench.drive(bench.background(lambda: waits.changed(timeout=0.3))) == {}

    def test_closing_ends_a_wait(self, bench: ResultsBench) -> None:
        store = bench.connect()
        waits = bench.require_waits(store)
        waits.watch(["1"], timeout=TIMEOUT)
        waiting = bench.background(lambda: waits.changed(timeout=60))
        bench.is_blocked(waiting)

        store.close()

        with suppress(StoreError):  # It may as well say that the connection is gone.
            assert bench.outcome(waiting) == {}
