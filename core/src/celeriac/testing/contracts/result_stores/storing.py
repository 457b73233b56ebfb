"""Storing: records come back as they were put, replace each other by the rules, and expire."""

from __future__ import annotations

from functools import partial

import pytest

from celeriac.errors import StoreError
from celeriac.model.record import FAILURE, READY_STATES, RETRY, REVOKED, STARTED, SUCCESS, ResultRecord
from celeriac.spi.results import Expires, Joins, Replies, ResultStore, Waits
from celeriac.testing.contracts.bench import TIMEOUT
from celeriac.testing.contracts.result_stores.bench import LATER, ResultsBench, ResultStoreTests, record

__all__ = ["Expiring", "Replacing", "Storing"]

STATES = (STARTED, RETRY, "PROGRESS", FAILURE, REVOKED, SUCCESS)


class Storing(ResultStoreTests):
    """`put`, `get`, `delete` and `close`."""

    def test_capabilities_and_interfaces_agree(self, bench: ResultsBench) -> None:
        store = bench.unopened()

        assert isinstance(store, Waits) == store.capabilities.waits
        assert isinstance(store, Joins) == store.capabilities.joins
        assert isinstance(store, Expires) == (store.capabilities.expires == "sweep")
        assert isinstance(store, Replies) == store.capabilities.replies == (store.capabilities.reach == "caller")

    def test_a_record_comes_back_as_it_was_put(self, bench: ResultsBench) -> None:
        store = bench.connect()
        sent = ResultRecord(
            id="1",
            state=SUCCESS,
            payload=bytes(range(256)),
            content_type="application/x-python-serialize",
            content_encoding="binary",
        )

        bench.put(store, sent)

        assert store.get(["1"], timeout=TIMEOUT) == {"1": sent}

    @pytest.mark.parametrize("size", [0, 1, 1_000_000])
    def test_a_payload_may_have_any_size(self, bench: ResultsBench, size: int) -> None:
        store = bench.connect()

        bench.put(store, record("1", payload=b"\xff" * size))

        assert bench.get(store, "1")["1"].payload == b"\xff" * size

    @pytest.mark.parametrize(
        "id_",
        ["../../outside", "/absolute", "a/b", ".", "..", "with space", "naïve-🥬", "'; --", "x" * 400, "%2e", "C:\\x"],
    )
    def test_an_id_may_be_any_text(self, bench: ResultsBench, id_: str) -> None:
        store = bench.connect()

        bench.put(store, record(id_, payload=b"mine"), record(id_ + "2", payload=b"another"))

        assert bench.get(store, id_) == {id_: record(id_, payload=b"mine")}
        assert store.delete([id_], timeout=TIMEOUT) == 1
        assert set(bench.get(store, id_, id_ + "2")) == {id_ + "2"}

    def test_ids_that_differ_in_case_are_different(self, bench: ResultsBench) -> None:
        store = bench.connect()

        bench.put(store, record("a", payload=b"1"), record("A", payload=b"2"))

        assert bench.get(store, "a", "A") == {"a": record("a", payload=b"1"), "A": record("A", payload=b"2")}

    def test_an_unknown_id_is_absent(self, bench: ResultsBench) -> None:
        store = bench.connect()
        bench.put(store, record("1"))

        assert set(bench.get(store, "1", "2")) == {"1"}
        assert store.get([], timeout=TIMEOUT) == {}

    def test_many_records_are_put_read_and_deleted_at_once(self, bench: ResultsBench) -> None:
        store = bench.connect()
        ids = [str(number) for number in range(1500)]

        bench.put(store, *(record(id_, payload=id_.encode()) for id_ in ids))

        assert bench.get(store, *ids) == {id_: record(id_, payload=id_.encode()) for id_ in ids}
        assert store.delete([*ids, "unknown"], timeout=TIMEOUT) == 1500
        assert bench.get(store, *ids) == {}

    def test_every_connection_reads_what_another_has_put(self, bench: ResultsBench) -> None:
        writer, reader = bench.connect("a"), bench.connect("b")

        for state in (STARTED, SUCCESS):
            bench.put(writer, record("1", state))
            assert bench.state_of(reader, "1") == state

    def test_deleting_counts_what_was_there(self, bench: ResultsBench) -> None:
        store = bench.connect()
        bench.put(store, record("1"), record("2"))

        assert store.delete(["1", "3"], timeout=TIMEOUT) == 1
        assert store.delete(["1"], timeout=TIMEOUT) == 0
        assert store.delete([], timeout=TIMEOUT) == 0
        assert set(bench.get(store, "1", "2")) == {"2"}

    def test_records_outlive_the_connection(self, bench: ResultsBench) -> None:
        store = bench.connect()
        bench.require_kept(store)
        bench.put(store, record("1"))

        store.close()

        assert bench.state_of(bench.connect(), "1") == SUCCESS

    def test_closing_twice_or_before_opening_does_nothing(self, bench: ResultsBench) -> None:
        unopened, store = bench.unopened(), bench.connect()

        unopened.close()
        store.close()
        store.close()

    def test_a_closed_connection_says_so(self, bench: ResultsBench) -> None:
        store = bench.connect()

        store.close()

        with pytest.raises(StoreError):
            bench.put(store, record("1"))


class Replacing(ResultStoreTests):
    """What replaces what."""

    @pytest.mark.parametrize("old", STATES)
    @pytest.mark.parametrize("new", STATES)
    def test_success_stays_and_what_has_ended_does_not_go_back(self, bench: ResultsBench, old: str, new: str) -> None:
        store = bench.connect()
        bench.put(store, record("1", old, b"old"))

        bench.put(store, record("1", new, b"new"))

        stays = old == SUCCESS or (old in READY_STATES and new not in READY_STATES)
        assert bench.get(store, "1") == {"1": record("1", old, b"old") if stays else record("1", new, b"new")}

    def test_the_later_of_two_in_one_batch_wins(self, bench: ResultsBench) -> None:
        store = bench.connect()

        bench.put(store, record("1", FAILURE, b"first"), record("2"), record("1", REVOKED, b"second"))

        assert bench.get(store, "1") == {"1": record("1", REVOKED, b"second")}

    def test_success_stays_within_one_batch(self, bench: ResultsBench) -> None:
        store = bench.connect()

        bench.put(store, record("1", SUCCESS, b"first"), record("1", FAILURE, b"second"))

        assert bench.get(store, "1") == {"1": record("1", SUCCESS, b"first")}

    def test_one_that_stays_does_not_hinder_the_others_of_its_batch(self, bench: ResultsBench) -> None:
        store = bench.connect()
        bench.put(store, record("1"))

        bench.put(store, record("0"), record("1", FAILURE), record("2", FAILURE))

        found = bench.get(store, "0", "1", "2")
        assert [found[id_].state for id_ in ("0", "1", "2")] == [SUCCESS, SUCCESS, FAILURE]

    def test_a_deleted_record_may_be_put_anew(self, bench: ResultsBench) -> None:
        store = bench.connect()
        bench.put(store, record("1"))
        store.delete(["1"], timeout=TIMEOUT)

        bench.put(store, record("1", STARTED))

        assert bench.state_of(store, "1") == STARTED

    def test_success_stays_whoever_writes_at_the_same_time(self, bench: ResultsBench) -> None:
        ids = [str(number) for number in range(60)]
        stores = [bench.connect(name) for name in "abcd"]

        def write(store: ResultStore, state: str) -> None:
            for id_ in ids:
                bench.put(store, record(id_, state))

        states = (SUCCESS, FAILURE, STARTED, REVOKED)
        writing = [bench.background(partial(write, *pair)) for pair in zip(stores, states, strict=True)]
        for future in writing:
            bench.outcome(future)

        assert {one.state for one in bench.get(stores[0], *ids).values()} == {SUCCESS}

    def test_the_first_success_stays_whoever_writes_at_the_same_time(self, bench: ResultsBench) -> None:
        ids = [str(number) for number in range(40)]
        stores = [bench.connect(name) for name in "abc"]

        def write(store: ResultStore, payload: bytes) -> dict[str, bytes]:
            seen = {}
            for id_ in ids:
                bench.put(store, record(id_, SUCCESS, payload))
                seen[id_] = bench.get(store, id_)[id_].payload
            return seen

        writing = [bench.background(partial(write, store, f"{number}".encode())) for number, store in enumerate(stores)]
        seen = [bench.outcome(future) for future in writing]

        final = {id_: one.payload for id_, one in bench.get(stores[0], *ids).items()}
        assert seen == [final, final, final]


class Expiring(ResultStoreTests):
    """For stores whose records expire."""

    def test_a_record_is_readable_until_it_expires(self, bench: ResultsBench) -> None:
        store = bench.connect()
        bench.require_expiry(store)

        bench.put(store, record("1", expires_seconds=LATER), record("2"), record("3", expires_seconds=3600.0))

        assert set(bench.get(store, "1", "2", "3")) == {"1", "2", "3"}
        bench.pass_time(LATER)
        bench.sweep(store)
        assert set(bench.get(store, "1", "2", "3")) == {"2", "3"}

    def test_an_expired_success_may_be_replaced(self, bench: ResultsBench) -> None:
        store = bench.connect()
        bench.require_expiry(store)
        bench.put(store, record("1", expires_seconds=LATER))
        bench.pass_time(LATER)

        bench.put(store, record("1", STARTED, expires_seconds=3600.0))

        bench.sweep(store)
        assert bench.state_of(store, "1") == STARTED

    def test_the_time_counts_from_the_last_put(self, bench: ResultsBench) -> None:
        store = bench.connect()
        bench.require_expiry(store)
        bench.put(store, record("1", STARTED, expires_seconds=LATER))

        bench.put(store, record("1", SUCCESS, expires_seconds=3600.0))

        bench.pass_time(LATER)
        bench.sweep(store)
        assert bench.state_of(store, "1") == SUCCESS

    def test_a_sweep_drops_no_more_than_its_limit_and_counts(self, bench: ResultsBench) -> None:
        store = bench.connect()
        if not isinstance(store, Expires):
            pytest.skip("the result store is not swept")
        bench.put(store, *(record(str(number), expires_seconds=LATER) for number in range(5)), record("kept"))
        assert bench.sweep(store) == 0

        bench.pass_time(LATER)

        assert [bench.sweep(store, 2), bench.sweep(store, 2), bench.sweep(store, 2), bench.sweep(store, 2)] == [
            2,
            2,
            1,
            0,
        ]
        assert bench.state_of(store, "kept") == SUCCESS
