"""What becomes of a run that brought no outcome of its own."""

from __future__ import annotations

import json
import threading

import pytest
from parts import make_request
from running import eventually

from celeriac import events
from celeriac.errors import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded, WorkerLostError
from celeriac.model.outcome import Action
from celeriac.model.record import FAILURE, REJECTED, REVOKED
from celeriac.runtime.failures import Failures
from celeriac.runtime.recording import Recorder

pytestmark = pytest.mark.plugins

LOST = WorkerLostError("signal 9 (SIGKILL)")
LATE = TimeLimitExceeded(3.0)
ENDED = TaskRevokedError("terminated")
SOFT = SoftTimeLimitExceeded(1.0)
DEFECT = RuntimeError("ours")


@pytest.fixture
def failures(celeriac_app):
    """Failures of an app whose tasks say this and that; made when it is first used."""
    app, made = celeriac_app, []
    app.conf.task_max_deliveries = 3
    app.task(lambda: None, name="echo")
    app.task(lambda: None, name="strict", acks_on_failure=False, acks_on_timeout=False)
    app.task(lambda: None, name="fragile", reject_on_worker_lost=False)
    app.task(lambda: None, name="fragile-strict", reject_on_worker_lost=False, acks_on_failure=False)
    app.task(lambda: None, name="once", acks_late=False)
    app.task(lambda: None, name="endless", max_deliveries=1000)

    def get():
        if not made:
            app.finalize()
            made.append(Failures(app, Recorder(app, "box"), "box"))
        return made[0]

    yield get
    for each in made:
        each.close()


def request_of(app, task, **options):
    """Return a request as a call of the task would make it."""
    deliveries = options.pop("deliveries", 1)
    message = app.publisher.build(task, options.pop("args", ()), task=app.tasks[task], **options)
    return replaced(make_request(task=task), message=message, id=message.headers["id"], deliveries=deliveries)


def replaced(request, **fields):
    from msgspec.structs import replace  # noqa: PLC0415

    return replace(request, **fields)


def documents(outcome):
    return [json.loads(record.payload) for record in outcome.records]


@pytest.mark.parametrize(
    ("task", "error", "deliveries", "state", "action"),
    [
        ("echo", LOST, 1, REJECTED, Action.RELEASE),
        ("echo", LOST, 2, REJECTED, Action.RELEASE),
        ("echo", LOST, 3, FAILURE, Action.DEAD),
        ("endless", LOST, 900, REJECTED, Action.RELEASE),
        ("fragile", LOST, 1, FAILURE, Action.ACK),
        ("fragile-strict", LOST, 1, FAILURE, Action.DEAD),
        ("once", LOST, 1, FAILURE, Action.ACK),
        ("echo", LATE, 1, FAILURE, Action.ACK),
        ("strict", LATE, 1, FAILURE, Action.DEAD),
        ("echo", SOFT, 1, FAILURE, Action.ACK),
        ("strict", SOFT, 1, FAILURE, Action.DEAD),
        ("strict", ENDED, 1, REVOKED, Action.ACK),
        ("echo", DEFECT, 1, FAILURE, Action.DEAD),
        ("unheard-of", LATE, 1, FAILURE, Action.ACK),
    ],
)
def test_the_settings_decide_about_the_message(failures, task, error, deliveries, state, action):
    outcome = failures().outcome(make_request(task=task), error) if deliveries == 1 else None
    if outcome is None:
        outcome = failures().outcome(replaced(make_request(task=task), deliveries=deliveries), error)

    assert (outcome.state, outcome.action) == (state, action)
    assert str(error) in outcome.reason
    assert [document["status"] for document in documents(outcome)] == ([] if state == REJECTED else [state])


def test_the_error_is_recorded_as_its_caller_is_to_see_it(failures):
    (document,) = documents(failures().outcome(make_request(), LATE))

    assert document["result"]["exc_type"] == "TimeLimitExceeded"
    assert document["result"]["exc_message"] == [3.0]


@pytest.mark.parametrize(("keeps", "records"), [(False, 0), (True, 1)])
def test_an_ignored_result_is_recorded_only_if_errors_are_to_be_kept(celeriac_app, failures, keeps, records):
    celeriac_app.task(lambda: None, name="quiet", ignore_result=True, store_errors_even_if_ignored=keeps)

    outcome = failures().outcome(request_of(celeriac_app, "quiet"), LATE)

    assert len(outcome.records) == records


def test_its_error_callbacks_are_sent(celeriac_app, failures):
    celeriac_app.task(lambda task_id: None, name="mourn")
    failures()
    request = request_of(celeriac_app, "echo", link_error=celeriac_app.tasks["mourn"].s())

    late, terminated = (failures().outcome(request, error) for error in (LATE, ENDED))

    (message,) = late.followups
    assert message.headers["task"] == "mourn"
    assert json.loads(message.body)[0] == [request.id]
    assert terminated.followups == ()


def test_an_error_callback_that_is_called_here_holds_nobody_up(celeriac_app, failures):
    go, seen = threading.Event(), []

    @celeriac_app.task(name="mourn")
    def mourn(context, error, traceback):
        go.wait(10)
        seen.append((context.id, error))
        raise SystemExit

    failures()
    requests = [request_of(celeriac_app, "echo", link_error=celeriac_app.tasks["mourn"].s()) for _ in range(2)]

    outcomes = [failures().outcome(request, LATE) for request in requests]
    go.set()

    assert [outcome.followups for outcome in outcomes] == [(), ()]
    eventually(lambda: seen == [(request.id, LATE) for request in requests], "both are called")


@pytest.mark.parametrize(("error", "state"), [(LATE, FAILURE), (ENDED, REVOKED)])
def test_the_later_steps_of_its_chain_are_recorded_too(celeriac_app, failures, error, state):
    failures()
    later = [celeriac_app.tasks["echo"].s().set(task_id=each) for each in ("third", "second")]
    request = request_of(celeriac_app, "echo", chain=[dict(step) for step in later])

    found = documents(failures().outcome(request, error))

    assert [(each["task_id"], each["status"]) for each in found] == [
        (request.id, state),
        ("third", state),
        ("second", state),
    ]


def test_its_end_is_told(celeriac_app, failures):
    told = []
    failed = events.task_failure.connect(
        lambda sender, task_id, exception, **_: told.append((sender.name, task_id, exception))
    )
    revoked = events.task_revoked.connect(
        lambda sender, request, expired, terminated: told.append((sender, request.id, expired, terminated))
    )
    try:
        failures().outcome(make_request(1), LATE)
        failures().outcome(make_request(2), ENDED)
        failures().outcome(make_request(3), LOST)
    finally:
        events.task_failure.disconnect(failed)
        events.task_revoked.disconnect(revoked)

    assert told == [("echo", "id-1", LATE), ("echo", "id-2", False, True)], "one that goes back has not ended"


def test_a_body_that_cannot_be_read_is_no_obstacle(failures, caplog):
    request = replaced(make_request(), message=replaced(make_request().message, body=b"{broken"))

    outcome = failures().outcome(request, LATE)

    assert [document["status"] for document in documents(outcome)] == [FAILURE]
    assert "is not readable" in caplog.text


def test_a_defect_of_ours_is_a_dead_letter_and_raises_nothing(failures, monkeypatch):
    monkeypatch.setattr(Recorder, "exception", lambda *_, **__: 1 / 0)

    outcome = failures().outcome(make_request(), LATE)

    assert (outcome.action, outcome.records) == (Action.DEAD, ())


def test_one_that_was_raised_is_recorded_with_its_traceback(failures):
    try:
        raise DEFECT
    except RuntimeError as error:
        outcome = failures().outcome(make_request(), error)

    assert "test_failures.py" in outcome.traceback
    assert "test_failures.py" in documents(outcome)[0]["traceback"]
