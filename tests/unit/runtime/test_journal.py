import logging

import pytest
from parts import make_outcome, make_request

from celeriac import events
from celeriac.runtime.journal import Journal


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "celeriac.task")
    return caplog


@pytest.mark.parametrize(
    ("state", "level", "traceback"),
    [
        ("SUCCESS", logging.INFO, None),
        ("RETRY", logging.INFO, None),
        ("IGNORED", logging.INFO, None),
        ("REJECTED", logging.WARNING, None),
        ("FAILURE", logging.ERROR, "Traceback ..."),
        ("FAILURE", logging.INFO, None),
    ],
    ids=["success", "retry", "ignored", "rejected", "failure", "expected failure"],
)
def test_each_end_is_one_line_that_names_task_id_and_time(lines, state, level, traceback):
    Journal().settled(make_request(), make_outcome(state=state, runtime=0.25, error="why", traceback=traceback))

    (record,) = lines.records
    assert record.levelno == level
    assert record.getMessage().startswith("task echo[id-1] ")
    assert "0.250s" in record.getMessage()
    assert (record.event, record.queue, record.deliveries) == (f"task_{state.lower()}", "celery", 1)


def test_whether_anybody_reads_is_asked_once(lines):
    lines.set_level(logging.ERROR, "celeriac.task")
    journal = Journal()
    lines.set_level(logging.INFO, "celeriac.task")

    journal.settled(make_request(), make_outcome())

    assert not lines.records


def test_the_commit_of_an_outcome_is_told():
    told = []
    receiver = events.task_settled.connect(lambda sender, outcome, request: told.append((sender, outcome.state)))

    Journal().settled(make_request(), make_outcome())
    events.task_settled.disconnect(receiver)

    assert told == [("echo", "SUCCESS")]
