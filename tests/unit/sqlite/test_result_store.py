"""Results as rows: expiry, numbering, and one file under two names. The rest is in the contract suite."""

from __future__ import annotations

import pytest

from celeriac.model.record import ResultRecord
from celeriac.testing.clock import VirtualClock
from celeriac_sqlite.results import SqliteResultStore

SECONDS = 5.0


def _record(id_: str, state: str = "SUCCESS", **fields) -> ResultRecord:
    return ResultRecord(id=id_, state=state, payload=b"\xff\x00", **fields)


def test_every_field_comes_back(stores) -> None:
    store = stores.results()
    records = [_record("a", content_type="application/x-python-serialize", content_encoding="binary"), _record("b")]
    records.append(_record("c", expires_seconds=60.0))

    store.put(records, timeout=SECONDS)

    assert store.get("abc", timeout=SECONDS) == {record.id: record for record in records}


def test_an_expired_record_is_absent_before_any_sweep_and_may_be_replaced(stores, clock: VirtualClock) -> None:
    store = stores.results()
    store.put([_record("a", expires_seconds=10.0)], timeout=SECONDS)
    clock.advance(10)
    assert store.get(["a"], timeout=SECONDS) == {}

    store.put([_record("a", "STARTED")], timeout=SECONDS)

    assert store.get(["a"], timeout=SECONDS)["a"].state == "STARTED"


def test_a_sweep_takes_the_longest_expired_first_and_no_more_than_it_may(stores, clock: VirtualClock) -> None:
    store = stores.results()
    store.put([_record(str(age), expires_seconds=float(age)) for age in (3, 1, 2, 50)], timeout=SECONDS)
    clock.advance(10)

    assert store.sweep(limit=2, timeout=SECONDS) == 2
    with store._database.read("test", SECONDS) as connection:
        left = {id_ for (id_,) in connection.execute("SELECT id FROM result")}
    assert left == {"3", "50"}
    assert store.sweep(limit=2, timeout=SECONDS) == 1
    assert store.sweep(limit=2, timeout=SECONDS) == 0


def test_a_result_is_announced_although_the_newest_row_was_deleted_meanwhile(stores) -> None:
    """Numbers of rows are never used twice, or a new result could hide behind an old number."""
    store, other = stores.results(), stores.results()
    other.put([_record("old")], timeout=SECONDS)
    store.watch(["new"], timeout=SECONDS)
    other.delete(["old"], timeout=SECONDS)

    other.put([_record("new")], timeout=SECONDS)

    assert store.changed(timeout=0).keys() == {"new"}


@pytest.mark.parametrize(
    ("states", "kept"),
    [
        (["SUCCESS", "FAILURE"], "SUCCESS"),
        (["FAILURE", "STARTED"], "FAILURE"),
        (["FAILURE", "SUCCESS"], "SUCCESS"),
        (["STARTED", "RETRY", "STARTED"], "STARTED"),
    ],
)
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "one by one"])
def test_what_replaces_what(stores, states: list[str], kept: str, together: bool) -> None:
    store = stores.results()
    records = [_record("a", state) for state in states]

    for batch in [records] if together else [[record] for record in records]:
        store.put([*batch, _record("bystander")], timeout=SECONDS)

    assert store.get(["a"], timeout=SECONDS)["a"].state == kept


def test_a_transport_commits_with_the_results_of_the_same_file_under_any_name(stores, tmp_path) -> None:
    transport, same = stores.transport(), stores.results()
    (tmp_path / "link.db").symlink_to(stores.path)
    stores.url = f"sqlite:///{tmp_path / 'link.db'}"
    linked = stores.unopened(SqliteResultStore)
    stores.url = f"sqlite:///{tmp_path / 'other.db'}"
    other = stores.unopened(SqliteResultStore)

    assert transport.commits_with(same)
    assert transport.commits_with(linked)
    assert not transport.commits_with(other)
