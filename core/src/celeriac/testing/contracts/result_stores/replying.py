"""Replying: records go to the process that asked for them, and nowhere else."""

from __future__ import annotations

import uuid

from celeriac.spi.results import ResultStore, Waits
from celeriac.testing.contracts.bench import TIMEOUT
from celeriac.testing.contracts.result_stores.bench import ResultsBench, ResultStoreTests, record

__all__ = ["Replying"]


class Replying(ResultStoreTests):
    """For stores that declare `replies`."""

    def test_a_record_goes_where_its_address_says_and_nowhere_else(self, bench: ResultsBench) -> None:
        one, other = _listening(bench, "one"), _listening(bench, "other")

        bench.send(other, one, record("1", reply_to=bench.address("one")))
        bench.send(one, other, record("2", reply_to=bench.address("other")))

        assert (set(bench.get(one, "1", "2")), set(bench.get(other, "1", "2"))) == ({"1"}, {"2"})

    def test_a_record_that_names_nobody_is_dropped_and_is_no_error(self, bench: ResultsBench) -> None:
        store = _listening(bench)

        store.put([record("1")], timeout=TIMEOUT)
        bench.put(store, record("2"))

        assert set(bench.get(store, "1", "2")) == {"2"}

    def test_a_record_for_somebody_who_does_not_listen_is_dropped_and_is_no_error(self, bench: ResultsBench) -> None:
        store = _listening(bench)

        store.put([record("1", reply_to=uuid.uuid4().hex), record("2", reply_to=bench.address())], timeout=TIMEOUT)
        bench.put(store, record("3"))

        assert set(bench.get(store, "1", "2", "3")) == {"2", "3"}

    def test_who_does_not_listen_sends_and_reads_nothing(self, bench: ResultsBench) -> None:
        store, writer = _listening(bench), bench.unopened("b")
        writer.open(timeout=TIMEOUT)

        bench.send(writer, store, record("1", reply_to=bench.address()))

        assert isinstance(writer, Waits) or not writer.capabilities.waits
        assert set(bench.get(store, "1")) == {"1"}
        assert bench.get(writer, "1") == {}
        if isinstance(writer, Waits):
            writer.watch(["1"], timeout=TIMEOUT)
            assert bench.silent(writer)

    def test_listening_again_changes_nothing(self, bench: ResultsBench) -> None:
        store = _listening(bench)
        bench.put(store, record("1"))

        bench.listen(store)
        bench.put(store, record("2"))

        assert set(bench.get(store, "1", "2")) == {"1", "2"}

    def test_closing_one_connection_of_a_process_leaves_the_others_listening(self, bench: ResultsBench) -> None:
        store, other, writer = _listening(bench), bench.connect("b"), bench.connect("c")
        bench.put(writer, record("1"))

        other.close()
        bench.put(writer, record("2"))

        assert set(bench.get(store, "1", "2")) == {"1", "2"}


def _listening(bench: ResultsBench, name: str = "") -> ResultStore:
    store = bench.unopened()
    bench.require_replies(store)
    store.open(timeout=TIMEOUT)
    bench.listen(store, name)
    return store
