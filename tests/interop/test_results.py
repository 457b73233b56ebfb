"""Both sides keep their results in one folder, and each reads what the other wrote."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery_side import CeleryContext, CeleryRetry, CeleryTaskRevokedError, Oops, Sides, as_kombu
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.errors import RemoteError, TaskRevokedError
from celeriac.model.protocol import check_headers
from celeriac.runtime.recording import Recorder

FAILURES = [
    ("KeyError", ("k",), KeyError),
    ("OSError", (2, "gone"), FileNotFoundError),
    ("ValueError", (), ValueError),
    ("Oops", ("mine", 1, [2]), Oops),
]


@pytest.fixture
def task_id() -> str:
    return str(uuid4())


def keys(sides: Sides, task_id: str) -> list[str]:
    """Return the keys of the document in Celery's reading of the file, ours and theirs alike."""
    (path,) = Path(sides.theirs.backend.path.decode()).glob(f"celery-task-meta-{task_id}")
    return [key for key in json.loads(path.read_text()) if key != "celeriac"]


@pytest.mark.parametrize(("name", "args", "kind"), FAILURES)
def test_celery_reads_our_failures(sides: Sides, task_id: str, name: str, args: Any, kind: type[Exception]):
    sides.run(sides.message("proj.fail", (name, *args), task_id=task_id))

    found = sides.theirs.AsyncResult(task_id)
    assert found.state == "FAILURE"
    assert type(found.result) is kind
    assert found.result.args == args
    assert f"raise ERRORS[name](*args)\n{'celery_side.' * (kind is Oops)}{kind.__name__}" in found.traceback
    with pytest.raises(kind):
        found.get(timeout=1)


@pytest.mark.parametrize(("name", "args", "kind"), FAILURES)
def test_we_read_celerys_failures(sides: Sides, task_id: str, name: str, args: Any, kind: type[Exception]):
    sides.celery_run(sides.celery_message("proj.fail", (name, *args), task_id=task_id))

    found = sides.ours.AsyncResult(task_id)
    assert found.state == "FAILURE"
    assert type(found.result) is kind
    assert found.result.args == args
    assert "raise ERRORS[name](*args)" in (found.traceback or "")
    with pytest.raises(kind):
        found.get(timeout=1)


def test_a_document_has_the_same_keys_in_the_same_order(sides: Sides):
    documents = []
    for run, message in [(sides.run, sides.message), (sides.celery_run, sides.celery_message)]:
        for name, args in [("proj.add", (1, 2)), ("proj.fail", ("KeyError",))]:
            task_id = str(uuid4())
            run(message(name, args, task_id=task_id, parent_id="parent", group_id="group"))
            documents.append(keys(sides, task_id))

    ours, theirs = documents[:2], documents[2:]
    assert ours == theirs


def test_children_and_the_moment_of_the_end_are_read_by_the_other_side(sides: Sides):
    link = {"link": [sides.ours.tasks["proj.echo"].signature(task_id="child-id")]}
    sides.run(sides.message("proj.add", (1, 2), task_id="with-child-ours", **link))
    link = {"link": [sides.theirs.tasks["proj.echo"].signature(task_id="child-id")]}
    sides.celery_run(sides.celery_message("proj.add", (1, 2), task_id="with-child-theirs", **link))

    for found in (sides.theirs.AsyncResult("with-child-ours"), sides.ours.AsyncResult("with-child-theirs")):
        assert [child.id for child in found.children or ()] == ["child-id"]
        assert abs(found.date_done - datetime.now(UTC)) < timedelta(seconds=60)


def test_a_retry_that_is_under_way_is_read_by_the_other_side(sides: Sides):
    sides.run(sides.message("proj.because", task_id="again-ours"))
    sides.celery_run(sides.celery_message("proj.because", task_id="again-theirs"))

    ours, theirs = sides.theirs.AsyncResult("again-ours"), sides.ours.AsyncResult("again-theirs")
    assert ours.state == theirs.state == "RETRY"
    assert not ours.ready()
    assert not theirs.ready()
    assert repr(ours.result) == repr(theirs.result) == "KeyError('k')"
    assert keys(sides, "again-ours") == keys(sides, "again-theirs")


def test_a_retry_without_a_cause_says_so_where_celery_says_nothing(sides: Sides):
    sides.run(sides.message("proj.again", task_id="uncaused-ours"))
    sides.celery_run(sides.celery_message("proj.again", task_id="uncaused-theirs"))

    assert isinstance(sides.theirs.AsyncResult("uncaused-ours").result, CeleryRetry)
    assert (sides.ours.AsyncResult("uncaused-theirs").state, sides.ours.AsyncResult("uncaused-theirs").result) == (
        "RETRY",
        None,
    )


def test_a_task_that_has_started_is_read_by_the_other_side(sides: Sides):
    headers = check_headers(sides.message("proj.add", (1, 2), task_id="started-ours").headers)
    record = Recorder(sides.ours, "ours@localhost").started(headers, 4)
    sides.ours.connections.results().put([record], timeout=5)
    sides.theirs.backend.mark_as_started("started-theirs", pid=4, hostname="theirs@localhost")

    assert sides.theirs.AsyncResult("started-ours").state == "STARTED"
    assert sides.theirs.AsyncResult("started-ours").info == {"pid": 4, "hostname": "ours@localhost"}
    assert sides.ours.AsyncResult("started-theirs").state == "STARTED"
    assert sides.ours.AsyncResult("started-theirs").info == {"pid": 4, "hostname": "theirs@localhost"}
    assert keys(sides, "started-ours") == keys(sides, "started-theirs")


@pytest.mark.parametrize("why", ["revoked", "expired", "terminated"])
def test_a_revoked_task_is_read_by_the_other_side(sides: Sides, why: str):
    headers = check_headers(sides.message("proj.add", (1, 2), task_id=f"{why}-ours").headers)
    record = Recorder(sides.ours, "ours@localhost").exception(headers, "REVOKED", TaskRevokedError(why))
    sides.ours.connections.results().put([record], timeout=5)
    sides.theirs.backend.mark_as_revoked(f"{why}-theirs", why, request=CeleryContext(id=f"{why}-theirs"))

    with pytest.raises(CeleryTaskRevokedError, match=why):
        sides.theirs.AsyncResult(f"{why}-ours").get(timeout=1)
    with pytest.raises(TaskRevokedError, match=why):
        sides.ours.AsyncResult(f"{why}-theirs").get(timeout=1)


def test_a_state_of_the_users_own_is_read_by_the_other_side(sides: Sides):
    sides.ours.store_state("own-ours", "HALFWAY", {"done": 50}, None)
    sides.theirs.backend.store_result("own-theirs", {"done": 50}, "HALFWAY")

    for found in (sides.theirs.AsyncResult("own-ours"), sides.ours.AsyncResult("own-theirs")):
        assert (found.state, found.info) == ("HALFWAY", {"done": 50})


def test_neither_side_replaces_the_success_that_the_other_stored(sides: Sides):
    sides.run(sides.message("proj.add", (1, 2), task_id="kept-ours"))
    sides.celery_run(sides.celery_message("proj.add", (3, 4), task_id="kept-theirs"))

    sides.celery_run(sides.celery_message("proj.fail", ("KeyError",), task_id="kept-ours"))
    sides.run(sides.message("proj.fail", ("KeyError",), task_id="kept-theirs"))

    assert sides.ours.AsyncResult("kept-ours").get(timeout=1) == 3
    assert sides.theirs.AsyncResult("kept-theirs").get(timeout=1) == 7


def test_an_exception_that_is_imported_nowhere_is_told_by_name_on_either_side(sides: Sides):
    class Hidden(Exception):
        pass

    Hidden.__module__ = "not.imported"
    headers = check_headers(sides.message("proj.add", (1, 2), task_id="hidden-ours").headers)
    record = Recorder(sides.ours, "ours@localhost").exception(headers, "FAILURE", Hidden("x"))
    sides.ours.connections.results().put([record], timeout=5)
    sides.theirs.backend.store_result("hidden-theirs", Hidden("x"), "FAILURE")

    assert type(sides.theirs.AsyncResult("hidden-ours").result).__name__.endswith("Hidden")
    found = sides.ours.AsyncResult("hidden-theirs").result
    assert isinstance(found, RemoteError)
    assert found.type_name.endswith("Hidden")


@settings(max_examples=60, deadline=None)
@given(
    call=st.none() | st.booleans(),
    name=st.sampled_from(["proj.add", "proj.ignored"]),
    known=st.booleans(),
)
def test_both_sides_agree_whether_a_result_is_kept(sides: Sides, call: bool | None, name: str, known: bool):
    args = (1, 2) if name == "proj.add" else ()
    options = {} if call is None else {"ignore_result": call}
    kept = []

    for run in (sides.run, lambda message: sides.celery_run(as_kombu(message))):
        for theirs in (True, False):
            task_id = str(uuid4())
            sender = sides.celery_send if theirs else sides.send
            run(sender(name, args, task_id=task_id, known=known, **options))
            kept.append(sides.ours.AsyncResult(task_id).exists())

    assert len(set(kept)) == 1, kept
