"""What of the filesystem store the contract suite does not look at: names, layout, locks, failures, leftovers."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from celeriac.errors import ConfigurationError, DeadlineExceeded, ReadOnlyStore, StoreFull, StoreLost
from celeriac.model.address import Address
from celeriac.model.record import FAILURE, STARTED, SUCCESS, ResultRecord
from celeriac.spi.service import Context
from celeriac.testing import VirtualClock
from celeriac_filesystem.lock import LOCK_NAME, FolderLock
from celeriac_filesystem.names import PREFIX, TEMPORARY, file_name
from celeriac_filesystem.results import FilesystemResults

T = 2.0
DOCUMENT = b'{"status": "SUCCESS", "result": 4, "traceback": null, "children": [], "task_id": "1"}'

Connect = Callable[..., FilesystemResults]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    opened = []

    def connect(query: str = "", *, clock: VirtualClock | None = None) -> FilesystemResults:
        context = Context(clock=clock or VirtualClock())
        store = FilesystemResults(Address.parse(f"file://{tmp_path}{query}"), context)
        store.open(timeout=T)
        opened.append(store)
        return store

    yield connect
    for store in opened:
        store.close()


def record(id_: str = "1", state: str = SUCCESS, payload: bytes = DOCUMENT, **fields: float) -> ResultRecord:
    return ResultRecord(id=id_, state=state, payload=payload, **fields)


# -- names -----------------------------------------------------------------------------------------


def test_a_plain_id_has_celerys_file_name() -> None:
    id_ = "d9cbbf5e-9a4f-4a3a-8a60-3b9b3c9a9d0f"

    assert file_name(id_) == f"celery-task-meta-{id_}"


@pytest.mark.parametrize("id_", ["../x", "/etc/passwd", "a\\b", "a\0b", "", ".", "x" * 1000, "ü" * 200, "\ud800", "~"])
def test_a_hostile_id_is_a_plain_name_in_the_folder(id_: str, tmp_path: Path) -> None:
    name = file_name(id_)

    assert (tmp_path / name).parent == tmp_path
    assert name.startswith(PREFIX)
    assert len(os.fsencode(name)) <= 255
    (tmp_path / name).write_bytes(b"")


def test_different_ids_have_different_names() -> None:
    ids = ["a/b", "a%2Fb", "a%252Fb", "a", "A", "%61", "x" * 300, "x" * 301, "~", "%7E", "%sha256-0"]

    assert len({file_name(id_) for id_ in ids}) == len(ids)
    assert len({file_name(id_, folds_case=True).lower() for id_ in ids}) == len(ids)


# -- layout ----------------------------------------------------------------------------------------


def test_celery_can_read_the_file(connect: Connect, tmp_path: Path) -> None:
    connect().put([record(expires_seconds=60.0)], timeout=T)

    read = json.loads((tmp_path / "celery-task-meta-1").read_bytes())

    del read["celeriac"]
    assert read == json.loads(DOCUMENT)


def test_a_file_of_celery_is_read_and_never_swept(connect: Connect, tmp_path: Path) -> None:
    clock = VirtualClock()
    store = connect(clock=clock)
    (tmp_path / "celery-task-meta-1").write_bytes(DOCUMENT)

    assert store.get(["1"], timeout=T) == {"1": record()}
    clock.correct(1e10)
    assert [store.sweep(limit=10, timeout=T), store.sweep(limit=10, timeout=T)] == [0, 0]
    assert set(store.get(["1"], timeout=T)) == {"1"}


def test_a_success_of_celery_is_not_replaced(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "celery-task-meta-1").write_bytes(DOCUMENT)

    connect().put([record(state=FAILURE)], timeout=T)

    assert (tmp_path / "celery-task-meta-1").read_bytes() == DOCUMENT


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"celeriac-record {\n", b'{"a":1,"celeriac":}', b"null"])
def test_a_file_that_holds_no_record_is_no_record_and_may_be_replaced(
    connect: Connect, tmp_path: Path, content: bytes
) -> None:
    store = connect()
    (tmp_path / "celery-task-meta-1").write_bytes(content)

    assert store.get(["1"], timeout=T) == {}
    store.put([record()], timeout=T)
    assert store.get(["1"], timeout=T) == {"1": record()}


@pytest.mark.parametrize(
    "payload", [b"{}", b"", b"null", b'{"celeriac":{}}', b'{"a":1,"celeriac":{"state":"x"}}', b"{"]
)
def test_any_payload_comes_back(connect: Connect, payload: bytes) -> None:
    store = connect()

    store.put([record(payload=payload)], timeout=T)

    assert store.get(["1"], timeout=T)["1"].payload == payload


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["file://", "file:///", "file://elsewhere/folder"])
def test_an_address_without_a_folder_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="file:///absolute/path"):
        FilesystemResults(Address.parse(url), Context())


def test_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    store = FilesystemResults(Address.parse(f"file://{tmp_path}/missing"), Context())

    with pytest.raises(StoreLost, match=r"there is no folder .*missing. Create it"):
        store.open(timeout=T)


def test_a_folder_that_went_away_is_a_lost_store(connect: Connect, tmp_path: Path) -> None:
    store = connect()
    (tmp_path / LOCK_NAME).unlink()
    tmp_path.rmdir()

    with pytest.raises(StoreLost):
        store.put([record()], timeout=T)


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that nobody can write")
def test_a_read_only_folder_is_a_clear_error() -> None:
    store = FilesystemResults(Address.parse("file:///sys/kernel"), Context())
    store.open(timeout=T)

    with pytest.raises(ReadOnlyStore, match="cannot be written"):
        store.put([record()], timeout=T)
    assert store.get(["1"], timeout=T) == {}


class OnAFullDisk(FilesystemResults):
    def _write(self, path: Path, record: ResultRecord) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_a_clear_error_and_keeps_what_was_there(connect: Connect, tmp_path: Path) -> None:
    store = connect()
    store.put([record(state=STARTED)], timeout=T)
    full = OnAFullDisk(store.address, store.context)
    full.open(timeout=T)

    with pytest.raises(StoreFull, match="no room for results"):
        full.put([record()], timeout=T)

    assert store.get(["1"], timeout=T)["1"].state == STARTED


def test_a_failed_write_leaves_no_file_behind(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "celery-task-meta-1").mkdir()

    with pytest.raises(StoreLost):
        connect().put([record()], timeout=T)

    assert not list(tmp_path.glob(f"{TEMPORARY}*"))


# -- locks and leftovers ---------------------------------------------------------------------------


def test_who_cannot_get_the_lock_is_told_in_time(connect: Connect, tmp_path: Path) -> None:
    store = connect()

    with FolderLock(tmp_path).held(T), pytest.raises(DeadlineExceeded, match=r"gave no answer within 0\.05 s"):
        store.put([record()], timeout=0.05)


def test_threads_of_one_connection_wait_for_each_other(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)

    with lock.held(T), pytest.raises(DeadlineExceeded), lock.held(0.01):
        pass


WRITER = """
import sys
from celeriac.model.address import Address
from celeriac.model.record import ResultRecord
from celeriac.spi.service import Context
from celeriac_filesystem.results import FilesystemResults

store = FilesystemResults(Address.parse(sys.argv[1]), Context())
store.open(timeout=10)
for number in range(150):
    store.put([ResultRecord(id=str(number), state=sys.argv[2], payload=b'{"status": "x"}')], timeout=10)
"""


def test_success_stays_whichever_process_writes(connect: Connect, tmp_path: Path) -> None:
    store = connect()
    states = (SUCCESS, FAILURE, STARTED)

    writers = [subprocess.Popen([sys.executable, "-c", WRITER, f"file://{tmp_path}", state]) for state in states]

    assert [writer.wait(20) for writer in writers] == [0, 0, 0]
    found = store.get([str(number) for number in range(150)], timeout=T)
    assert len(found) == 150
    assert {one.state for one in found.values()} == {SUCCESS}


def test_a_sweep_removes_what_dead_processes_left(connect: Connect, tmp_path: Path) -> None:
    clock = VirtualClock()
    store = connect(clock=clock)
    old, young = tmp_path / f"{TEMPORARY}old", tmp_path / f"{TEMPORARY}young"
    for path, age in ((old, 7200), (young, 60)):
        path.write_bytes(b"")
        os.utime(path, (clock.time() - age, clock.time() - age))

    store.sweep(limit=10, timeout=T)

    assert (old.exists(), young.exists()) == (False, True)


def test_a_sweep_trusts_what_stands_in_the_file_and_not_its_time(connect: Connect, tmp_path: Path) -> None:
    clock = VirtualClock()
    store = connect(clock=clock)
    store.put([record("1", expires_seconds=60.0), record("2")], timeout=T)
    for id_ in "12":
        os.utime(tmp_path / file_name(id_), (0, 0))

    assert store.sweep(limit=10, timeout=T) == 0
    clock.advance(60.0)
    assert store.sweep(limit=10, timeout=T) == 1
    assert set(store.get(["1", "2"], timeout=T)) == {"2"}


def test_records_may_be_written_to_the_disk_at_once(connect: Connect) -> None:
    store = connect("?fsync=yes")

    store.put([record()], timeout=T)

    assert store.option["fsync"] is True
    assert set(store.get(["1"], timeout=T)) == {"1"}
