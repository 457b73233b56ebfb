import asyncio
import json
from datetime import UTC, datetime

import pytest

from celeriac.client.context import Context, pop, push
from celeriac.client.retry import backoff_seconds
from celeriac.errors import Ignore, MaxRetriesExceededError, Reject, Retry
from celeriac.model.protocol import Embed, task_headers

pytestmark = pytest.mark.plugins


@pytest.fixture
def run(app):
    """Give a function that runs a task as a worker would, and returns its context and what it raised."""

    def enter(task, *args, embed=None, delivery_info=None, **headers):
        table = task_headers(task=task.name, id="id", origin="o", argsrepr="()", kwargsrepr="{}")
        context = Context.from_message({**table, **headers}, list(args), {}, embed, delivery_info=delivery_info)
        token = push(context)
        try:
            outcome = task.entry(*args)
            if task.is_async:
                outcome = asyncio.run(outcome)
        except Exception as error:  # noqa: BLE001  what it raises is what tests look at
            return context, error
        finally:
            pop(token)
        return context, outcome

    return enter


def failing(app, error, **options):
    def fail(x=1):
        raise error

    return app.task(name="failing", **options)(fail)


def countdown(app, context):
    (message,) = context.followups
    return message.due - app.clock.time()


# -- by hand ---------------------------------------------------------------------------------------


def test_a_retry_leaves_the_next_run_to_the_settlement(app, run, published):
    @app.task(bind=True)
    def again(self, x):
        raise self.retry(countdown=10)

    context, error = run(again, 5)

    (message,) = context.followups
    assert isinstance(error, Retry)
    assert error.when == 10
    assert (message.headers["id"], message.headers["retries"]) == ("id", 1)
    assert json.loads(message.body)[0] == [5]
    assert countdown(app, context) == pytest.approx(10, abs=1)
    assert published() == []


def test_a_retry_keeps_everything_that_belongs_to_the_task(app, run):
    @app.task(bind=True, name="again")
    def again(self):
        raise self.retry()

    step = {"task": "next", "args": [], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}
    context, _ = run(
        again,
        embed=Embed(callbacks=[step], errbacks=[step], chain=[step], chord=step),
        delivery_info={"exchange": "", "routing_key": "special", "priority": 5},
        root_id="root",
        parent_id="parent",
        group="g",
        group_index=2,
        shadow="s",
        timelimit=[10, 5],
        expires="2090-01-01T00:00:00+00:00",
        ignore_result=True,
        origin="someone",
        stamped_headers=["customer"],
        stamps={"customer": 7},
        mine=1,
        **{"x-death": "secret"},
    )

    (message,) = context.followups
    kept = {
        "root_id": "root",
        "parent_id": "parent",
        "group": "g",
        "group_index": 2,
        "shadow": "s",
        "timelimit": [10, 5],
        "expires": "2090-01-01T00:00:00+00:00",
        "ignore_result": True,
        "origin": "someone",
        "stamped_headers": ["customer"],
        "stamps": {"customer": 7},
        "mine": 1,
    }
    assert {name: message.headers[name] for name in kept} == kept
    assert "x-death" not in message.headers
    assert json.loads(message.body)[2] == {"callbacks": [step], "errbacks": [step], "chain": [step], "chord": step}
    assert (message.routing_key, message.priority) == ("special", 5)
    assert countdown(app, context) == pytest.approx(180, abs=1)


def test_a_retry_is_not_its_own_parent(app, run):
    @app.task(bind=True)
    def again(self):
        raise self.retry()

    context, _ = run(again)

    assert context.followups[0].headers["parent_id"] is None


def test_a_retry_may_change_arguments_time_and_queue(app, run):
    @app.task(bind=True)
    def again(self, x, y=0):
        raise self.retry(args=(2,), kwargs={"y": 3}, eta=datetime(2090, 1, 1, tzinfo=UTC), queue="other")

    context, _ = run(again, 1, delivery_info={"exchange": "", "routing_key": "special", "priority": 0})

    (message,) = context.followups
    assert json.loads(message.body)[:2] == [[2], {"y": 3}]
    assert message.due == datetime(2090, 1, 1, tzinfo=UTC).timestamp()
    assert message.routing_key == "other"


def test_a_countdown_of_zero_is_now(app, run):
    @app.task(bind=True)
    def again(self):
        raise self.retry(countdown=0)

    context, _ = run(again)

    assert context.followups[0].due is None


def test_too_many_retries_raise_the_cause_or_say_so(app, run):
    @app.task(bind=True, max_retries=2, name="without")
    def without_cause(self):
        raise self.retry()

    @app.task(bind=True, max_retries=2, name="with")
    def with_cause(self):
        try:
            {}["k"]
        except KeyError as error:
            raise self.retry(exc=ValueError("v")) from error

    below, _ = run(without_cause, retries=1)
    above, error = run(without_cause, retries=2)
    _, cause = run(with_cause, retries=2)

    assert len(below.followups) == 1
    assert above.followups == []
    assert isinstance(error, MaxRetriesExceededError)
    assert "2 times" in str(error)
    assert isinstance(cause, ValueError)


def test_no_bound_retries_for_ever_and_zero_never(app, run):
    @app.task(bind=True, max_retries=None, name="ever")
    def ever(self):
        raise self.retry()

    @app.task(bind=True, max_retries=0, name="never")
    def never(self):
        raise self.retry()

    assert isinstance(run(ever, retries=1000)[1], Retry)
    assert isinstance(run(never)[1], MaxRetriesExceededError)


def test_throw_false_returns_and_the_body_goes_on(app, run):
    @app.task(bind=True)
    def both(self):
        self.retry(throw=False, countdown=1)
        return "went on"

    context, value = run(both)

    assert value == "went on"
    assert len(context.followups) == 1


def test_a_direct_call_raises_what_is_being_handled(app):
    @app.task(bind=True)
    def again(self, handled):
        if not handled:
            raise self.retry()
        try:
            {}["k"]
        except KeyError:
            raise self.retry()  # noqa: B904  what is being handled is the point

    with pytest.raises(KeyError):
        again(True)
    with pytest.raises(Retry):
        again(False)


# -- automatic -------------------------------------------------------------------------------------


def test_chosen_exceptions_are_retried(app, run):
    context, error = run(failing(app, ValueError("v"), autoretry_for=(ValueError,), retry_kwargs={"countdown": 7}))

    assert isinstance(error, Retry)
    assert isinstance(error.exc, ValueError)
    assert countdown(app, context) == pytest.approx(7, abs=1)


def test_an_async_task_is_retried_too(app, run):
    @app.task(autoretry_for=(ValueError,))
    async def fail():
        raise ValueError("v")

    context, error = run(fail)

    assert isinstance(error, Retry)
    assert len(context.followups) == 1


@pytest.mark.parametrize("error", [Retry("r"), Ignore(), Reject("r")])
def test_what_a_task_says_of_its_own_end_is_not_retried(app, run, error):
    context, raised = run(failing(app, error, autoretry_for=(Exception,)))

    assert raised is error
    assert context.followups == []


def test_excepted_and_other_exceptions_are_not_retried(app, run):
    options = {"autoretry_for": (LookupError,), "dont_autoretry_for": (KeyError,)}

    context, raised = run(failing(app, KeyError("k"), **options))

    assert isinstance(raised, KeyError)
    assert context.followups == []


def test_the_last_retry_raises_the_cause(app, run):
    _, raised = run(failing(app, ValueError("v"), autoretry_for=(ValueError,), max_retries=1), retries=1)

    assert isinstance(raised, ValueError)


def test_a_bound_of_a_retry_by_hand_holds_for_the_automatic_one(app, run):
    @app.task(bind=True, autoretry_for=(ValueError,), max_retries=10)
    def fail(self):
        try:
            int("v")
        except ValueError as error:
            raise self.retry(exc=error, max_retries=1) from error

    context, raised = run(fail, retries=1)

    assert isinstance(raised, ValueError)
    assert context.followups == []


def test_runs_do_not_see_each_others_delay(app, run):
    options = {"countdown": 7}
    task = failing(
        app, ValueError(), autoretry_for=(ValueError,), retry_kwargs=options, retry_backoff=2, retry_jitter=False
    )

    delays = [round(countdown(app, run(task, retries=retries)[0])) for retries in (0, 1, 2, 0)]

    assert delays == [2, 4, 8, 2]
    assert options == {"countdown": 7}


def test_the_delay_doubles_up_to_the_longest():
    assert [backoff_seconds(3, retries, 20, jitter=False) for retries in range(5)] == [3, 6, 12, 20, 20]
    assert backoff_seconds(1, 10**9, 600, jitter=False) == 600


def test_jitter_spreads_over_the_whole_delay():
    delays = {backoff_seconds(1, 4, 600, jitter=True) for _ in range(1000)}

    assert min(delays) == 0
    assert max(delays) == 16
