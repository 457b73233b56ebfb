import pytest
from parts import make_message

from celeriac import events
from celeriac.errors import StoreLost
from celeriac.model.message import Delivery
from celeriac.model.outcome import Action
from celeriac.runtime.admission import ASK_AGAIN_SECONDS, Admission
from celeriac.runtime.failures import Failures
from celeriac.runtime.recording import Recorder

pytestmark = pytest.mark.plugins


class Revoked:
    """A coordinator that remembers, or fails."""

    def __init__(self):
        self.ids = set()
        self.error = None
        self.questions = 0

    def recall(self, name, members, *, timeout):
        self.questions += 1
        if self.error is not None:
            raise self.error
        return self.ids & set(members)


@pytest.fixture
def coordinator():
    return Revoked()


@pytest.fixture
def admit(celeriac_app, inflight, coordinator, clock):
    """Admit messages, as an app with four tasks does."""
    app = celeriac_app
    app.conf.task_max_deliveries = 3
    app.task(lambda: None, name="echo")
    app.task(lambda: None, name="once", acks_late=False)
    app.task(lambda: None, name="quiet", ignore_result=True)
    app.task(lambda: None, name="limited", rate_limit="1/s")
    app.task(lambda: None, name="sturdy", max_deliveries=100)
    app.finalize()
    admission = Admission(app, Failures(app, Recorder(app, "box"), "box"), inflight, coordinator, clock)

    def admit(*messages, deliveries=1):
        return admission.admit(
            [Delivery(message=each, queue="celery", tag=n, deliveries=deliveries) for n, each in enumerate(messages)]
        )

    return admit


def test_the_coordinator_is_asked_only_where_the_broker_was_not_sure(celeriac_app, inflight, coordinator, clock):
    celeriac_app.task(lambda: None, name="echo")
    celeriac_app.finalize()
    failures = Failures(celeriac_app, Recorder(celeriac_app, "box"), "box")
    admission = Admission(celeriac_app, failures, inflight, coordinator, clock)
    coordinator.ids = {"a", "b"}
    sure = Delivery(message=make_message(id="a"), queue="celery", tag=1, unrevoked=True)
    unsure = Delivery(message=make_message(id="b"), queue="celery", tag=2)

    admitted = admission.admit([sure])
    asked = coordinator.questions
    mixed = admission.admit([sure, unsure])

    assert [held.request.id for held in admitted.ready] == ["a"]
    assert asked == 0
    assert coordinator.questions == 1
    assert [verdict.delivery.tag for verdict in mixed.verdicts] == [2]


def test_a_known_task_is_ready_with_a_key_of_its_own(admit):
    admitted = admit(make_message(id="a"), make_message(id="b"))

    assert [held.request.id for held in admitted.ready] == ["a", "b"]
    assert len({held.request.key for held in admitted.ready}) == 2
    assert not admitted.verdicts


def test_a_task_of_at_most_once_is_to_be_acknowledged_first(admit):
    admitted = admit(make_message("once"))

    assert [held.request.task for held in admitted.ack_first] == ["once"]
    assert not admitted.ready


def test_a_batch_of_unknown_tasks_is_parked_each_is_told_and_one_line_is_logged(admit, caplog):
    told = []
    receiver = events.task_unknown.connect(lambda sender, delivery, name: told.append(name))

    admitted = admit(*[make_message("nobody.knows")] * 3)
    events.task_unknown.disconnect(receiver)

    assert [verdict.action for verdict in admitted.verdicts] == [Action.PARK] * 3
    assert told == ["nobody.knows"] * 3
    assert [(record.event, record.count) for record in caplog.records] == [("task_unknown", 3)]


@pytest.mark.parametrize(
    ("message", "part"),
    [
        (make_message(retries="many"), "'retries'"),
        (make_message(id="\ud800"), "surrogates"),
        (make_message(task="\udfff"), "surrogates"),
        (make_message(eta="soon"), "'eta'"),
        (make_message(expires="9" * 5000), ""),
    ],
    ids=["retries", "id", "task", "eta", "expires"],
)
def test_what_cannot_be_read_is_a_dead_letter_and_the_rest_of_the_batch_runs(admit, message, part):
    told = []
    receiver = events.task_rejected.connect(lambda sender, delivery, reason: told.append(reason))

    admitted = admit(message, make_message(id="well"))
    events.task_rejected.disconnect(receiver)

    (verdict,) = admitted.verdicts
    assert verdict.action is Action.DEAD
    assert part in verdict.reason
    assert verdict.reason.encode()
    assert told == [verdict.reason]
    assert [held.request.id for held in admitted.ready] == ["well"]


def test_a_defect_of_ours_costs_one_message_and_not_the_connection(admit, monkeypatch):
    """The same batch would come again at once, and again."""
    monkeypatch.setattr(Recorder, "exception", lambda *_, **__: 1 / 0)

    admitted = admit(make_message(id="bad", expires="2001-01-01T00:00:00"), make_message(id="well"))

    assert [verdict.action for verdict in admitted.verdicts] == [Action.DEAD]
    assert "ZeroDivisionError" in admitted.verdicts[0].reason
    assert [held.request.id for held in admitted.ready] == ["well"]


def test_a_revoked_task_does_not_run_and_its_caller_learns_of_it(admit, coordinator):
    coordinator.ids = {"b"}
    told = []
    receiver = events.task_revoked.connect(
        lambda sender, request, expired, terminated: told.append((request.id, expired))
    )

    admitted = admit(make_message(id="a"), make_message(id="b"), make_message("quiet", "b", ignore_result=None))
    events.task_revoked.disconnect(receiver)

    assert [held.request.id for held in admitted.ready] == ["a"]
    assert [[record.state for record in verdict.records] for verdict in admitted.verdicts] == [["REVOKED"], []]
    assert told == [("b", False), ("b", False)]
    assert coordinator.questions == 1


@pytest.mark.parametrize("error", [StoreLost("gone"), ValueError("a plugin's defect")])
def test_tasks_run_while_the_coordinator_is_gone_and_it_is_left_alone_for_a_while(
    admit, coordinator, clock, caplog, error
):
    """Each question may take a whole deadline, and each answer that does not come is a line in the log."""
    coordinator.ids, coordinator.error = {"id"}, error

    for _ in range(100):
        assert admit(make_message()).ready
    asked = coordinator.questions
    coordinator.error = None
    clock.advance(ASK_AGAIN_SECONDS + 1)
    later = admit(make_message())

    assert asked == 1
    assert [record.event for record in caplog.records if record.event == "recall_failed"] == ["recall_failed"]
    assert not later.ready


def test_an_expired_task_is_done_as_revoked_also_after_the_clock_was_corrected(admit, clock):
    expires = "2023-11-14T22:13:30+00:00"  # ten seconds after the virtual clock's beginning

    before = admit(make_message(expires=expires))
    clock.correct(60)
    after = admit(make_message(expires=expires))

    assert before.ready
    (verdict,) = after.verdicts
    assert [record.state for record in verdict.records] == ["REVOKED"]


def test_an_early_message_goes_back_for_as_long_as_it_is_early_uncounted(admit, clock):
    eta = "2023-11-14T22:14:20+00:00"  # a minute after the virtual clock's beginning

    (early,) = admit(make_message(eta=eta)).verdicts
    clock.advance(59.95)
    due = admit(make_message(eta=eta))

    assert (early.action, early.delay, early.counted) == (Action.RELEASE, pytest.approx(60), False)
    assert due.ready


def test_a_message_delivered_too_often_is_a_dead_letter_and_a_failure(admit):
    admitted = admit(make_message(), make_message("quiet", ignore_result=None), make_message("sturdy"), deliveries=4)

    assert [verdict.action for verdict in admitted.verdicts] == [Action.DEAD] * 2
    assert [len(verdict.records) for verdict in admitted.verdicts] == [1, 0]
    assert "3 times" in admitted.verdicts[0].reason
    assert [held.request.task for held in admitted.ready] == ["sturdy"]


def test_a_burst_over_a_rate_limit_goes_back_spread_out_and_uncounted(admit):
    admitted = admit(*[make_message("limited")] * 4)

    assert len(admitted.ready) == 1
    assert [verdict.delay for verdict in admitted.verdicts] == pytest.approx([1, 2, 3])
    assert not any(verdict.counted for verdict in admitted.verdicts)


def test_rate_limits_can_be_off(celeriac_app, inflight, clock):
    celeriac_app.conf.worker_disable_rate_limits = True
    celeriac_app.task(lambda: None, name="limited", rate_limit="1/h")
    admission = Admission(
        celeriac_app, Failures(celeriac_app, Recorder(celeriac_app, "box"), "box"), inflight, None, clock
    )

    admitted = admission.admit([Delivery(message=make_message("limited"), queue="celery", tag=n) for n in range(9)])

    assert len(admitted.ready) == 9


def test_no_coordinator_means_that_nothing_is_revoked(celeriac_app, inflight, clock):
    celeriac_app.task(lambda: None, name="echo")
    admission = Admission(
        celeriac_app, Failures(celeriac_app, Recorder(celeriac_app, "box"), "box"), inflight, None, clock
    )

    assert admission.admit([Delivery(message=make_message(), queue="celery", tag=1)]).ready


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, (30.0, 20.0)),
        ((None, None), (30.0, 20.0)),
        ((9.0, None), (9.0, 20.0)),
        ((None, 4.5), (30.0, 4.5)),
        ((9.0, 4.5), (9.0, 4.5)),
        ((0, -1), (30.0, 20.0)),
        ((1e300, float("inf")), (30.0, 20.0)),
    ],
)
def test_the_limits_of_the_call_come_before_those_of_the_task(celeriac_app, inflight, clock, asked, expected):
    celeriac_app.task(lambda: None, name="limited", time_limit=30.0, soft_time_limit=20.0)
    failures = Failures(celeriac_app, Recorder(celeriac_app, "box"), "box")
    admission = Admission(celeriac_app, failures, inflight, None, clock)

    message = make_message("limited", timelimit=asked)
    (held,) = admission.admit([Delivery(message=message, queue="celery", tag=1)]).ready

    assert (held.request.time_limit, held.request.soft_time_limit) == expected


@pytest.mark.parametrize(
    ("kept", "asked", "told"),
    [
        ({"hard_limits": False}, (9.0, None), ["calls of echo ask for a time limit, which"]),
        ({"soft_limits": False}, (9.0, 4.0), ["calls of echo ask for a soft time limit, which"]),
        ({"soft_limits": False}, (9.0, None), []),
        ({"soft_limits": False, "hard_limits": False}, (9.0, 4.0), ["calls of echo ask for a time limit and a soft"]),
    ],
)
def test_only_the_limits_that_the_pool_cannot_keep_are_told(celeriac_app, inflight, clock, caplog, kept, asked, told):
    celeriac_app.task(lambda: None, name="echo")
    failures = Failures(celeriac_app, Recorder(celeriac_app, "box"), "box")
    admission = Admission(celeriac_app, failures, inflight, None, clock, **kept)

    for tag in range(2):
        admission.admit([Delivery(message=make_message(timelimit=asked), queue="celery", tag=tag)])

    assert [record.getMessage()[: len(told[0])] for record in caplog.records] == told
