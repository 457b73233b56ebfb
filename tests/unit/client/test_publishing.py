import json
import os
import socket
from datetime import UTC, datetime, timedelta

import pytest

from celeriac import events
from celeriac.client.app import Celeriac
from celeriac.client.context import Context, pop, push
from celeriac.errors import EncodeError, QueueNotFound, StoreFull, TransportLost
from celeriac.model.protocol import task_headers
from celeriac.model.routing import Exchange, Queue

pytestmark = pytest.mark.plugins


@pytest.fixture
def add(app):
    @app.task(name="proj.add")
    def add(x, y=0):
        return x + y

    return add


def build(app, task, args=(1,), kwargs=None, **options):
    return app.publisher.build(task.name, args, kwargs, task=task, **options)


class FlakyTransport:
    """Stands before a transport; its first calls of `publish` raise."""

    def __init__(self, transport, errors):
        self.transport = transport
        self.errors = errors

    def publish(self, messages, *, timeout):
        if self.errors:
            raise self.errors.pop(0)
        self.transport.publish(messages, timeout=timeout)

    def close(self):
        pass

    def __getattr__(self, name):
        return getattr(self.transport, name)


@pytest.fixture
def break_transport(app, monkeypatch):
    def breaks(*errors):
        flaky = FlakyTransport(app.connections.transport(), list(errors))
        monkeypatch.setattr(app.connections, "transport", lambda timeout=None: flaky)

    return breaks


# -- messages --------------------------------------------------------------------------------------


def test_a_simple_call_is_the_message_that_celery_writes(app, add):
    message = build(app, add, (1, 2))

    task_id = message.headers["id"]
    expected = task_headers(
        task="proj.add",
        id=task_id,
        origin=f"gen{os.getpid()}@{socket.gethostname()}",
        argsrepr="(1, 2)",
        kwargsrepr="{}",
    )
    assert list(message.headers.items()) == list(expected.items())
    assert message.properties["correlation_id"] == task_id
    assert message.properties["delivery_mode"] == 2
    assert set(message.properties) == {"correlation_id", "reply_to", "delivery_mode"}
    nothing = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    assert json.loads(message.body) == [[1, 2], {}, nothing]
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert (message.exchange, message.routing_key, message.priority) == ("", "celery", 0)


def test_a_call_with_options_has_the_same_headers_in_the_same_order(app, add):
    plain, special = build(app, add), build(app, add, countdown=5)

    assert list(plain.headers) == list(special.headers)


def test_calls_do_not_share_what_one_of_them_could_change(app, add):
    build(app, add)
    first = build(app, add)
    first.headers["shadow"] = "changed"
    first.headers["stamps"]["a"] = 1
    first.headers["timelimit"][0] = 99

    second = build(app, add)

    assert second.headers["shadow"] is None
    assert second.headers["stamps"] == {}
    assert second.headers["timelimit"] == [None, None]


def test_every_option_that_is_a_header_ends_there(app, add):
    message = build(
        app,
        add,
        task_id="id",
        shadow="other",
        group_id="g",
        group_index=3,
        retries=2,
        time_limit=10,
        soft_time_limit=5,
        root_id="root",
        parent_id="parent",
        argsrepr="<hidden>",
        kwargsrepr="<hidden too>",
        origin="me",
        ignore_result=True,
        replaced_task_nesting=1,
        stamped_headers=["customer"],
        customer=7,
        headers={"mine": 1},
    )

    assert message.headers == {
        "lang": "py",
        "task": "proj.add",
        "id": "id",
        "shadow": "other",
        "eta": None,
        "expires": None,
        "group": "g",
        "group_index": 3,
        "retries": 2,
        "timelimit": [10, 5],
        "root_id": "root",
        "parent_id": "parent",
        "argsrepr": "<hidden>",
        "kwargsrepr": "<hidden too>",
        "origin": "me",
        "ignore_result": True,
        "replaced_task_nesting": 1,
        "stamped_headers": ["customer"],
        "stamps": {"customer": 7},
        "mine": 1,
    }


def test_countdown_eta_and_expires_are_moments_in_utc(app, add):
    app.clock.time()
    before = app.clock.time()

    message = build(app, add, countdown=10, expires=timedelta(seconds=20).total_seconds())

    assert before + 10 <= message.due <= app.clock.time() + 10
    assert datetime.fromisoformat(message.headers["eta"]).timestamp() == pytest.approx(message.due)
    assert datetime.fromisoformat(message.headers["expires"]).timestamp() == pytest.approx(message.expires)
    assert message.headers["eta"].endswith("+00:00")


def test_a_naive_eta_is_meant_in_the_zone_of_the_app(app, add):
    app.conf.timezone = "Asia/Tokyo"

    message = build(app, add, eta=datetime(2030, 1, 1, 9))

    assert message.headers["eta"] == "2030-01-01T00:00:00+00:00"
    assert message.due == datetime(2030, 1, 1, tzinfo=UTC).timestamp()


def test_a_countdown_of_zero_is_no_eta(app, add):
    assert build(app, add, countdown=0).due is None


def test_links_and_a_chain_are_in_the_body(app, add):
    message = build(app, add, link=add.s(1), link_error=[add.si(2)], chain=[add.s(3)], chord=add.s(4))

    embed = json.loads(message.body)[2]
    assert [each["args"] for each in embed["callbacks"]] == [[1]]
    assert [(each["args"], each["immutable"]) for each in embed["errbacks"]] == [([2], True)]
    assert [each["args"] for each in embed["chain"]] == [[3]]
    assert embed["chord"]["args"] == [4]


def test_a_link_that_is_no_signature_is_a_type_error(app, add):
    with pytest.raises(TypeError, match="must be a signature"):
        build(app, add, link=[add])


def test_options_of_the_call_win_over_the_task_the_task_over_the_route(app):
    app.conf.task_routes = {"proj.*": {"queue": "by-route", "priority": 1, "delivery_mode": "transient"}}

    @app.task(name="proj.special", queue="by-task", priority=2)
    def special(): ...

    own, called = build(app, special, ()), build(app, special, (), queue="by-call", priority=3)

    assert (own.routing_key, own.priority) == ("by-task", 2)
    assert (called.routing_key, called.priority) == ("by-call", 3)
    assert own.properties["delivery_mode"] == called.properties["delivery_mode"] == 1


def test_a_route_may_depend_on_the_arguments(app, add):
    app.conf.task_routes = lambda name, args, kwargs, options, task=None: {"queue": f"q{args[0]}"}

    assert [build(app, add, (number,)).routing_key for number in (1, 2)] == ["q1", "q2"]


def test_a_call_may_bring_its_own_router_and_a_name_to_route_by(app, add):
    app.conf.task_routes = {"reports.*": "reports"}

    assert build(app, add, route_name="reports.add").routing_key == "reports"
    assert build(app, add, router={"proj.*": "mine"}).routing_key == "mine"


def test_a_changed_setting_counts_from_the_next_call_on(app, add):
    before = build(app, add)

    app.conf.update(task_default_queue="jobs", task_default_priority=4, task_ignore_result=True)

    after = build(app, add)
    assert (before.routing_key, before.priority, before.headers["ignore_result"]) == ("celery", 0, False)
    assert (after.routing_key, after.priority, after.headers["ignore_result"]) == ("jobs", 4, True)


def test_who_knows_only_a_tasks_name_leaves_to_its_worker_whether_results_are_kept(app):
    by_name = app.publisher.build("elsewhere.add")
    as_said = app.publisher.build("elsewhere.add", ignore_result=False)
    app.conf.task_ignore_result = True
    as_set = app.publisher.build("elsewhere.add")

    assert [each.headers["ignore_result"] for each in (by_name, as_said, as_set)] == [None, False, True]


@pytest.mark.parametrize("priority", [-1, 256, "high"])
def test_a_priority_out_of_range_is_refused(app, add, priority):
    with pytest.raises(ValueError, match="0 to 255"):
        build(app, add, priority=priority)


def test_a_task_whose_default_queue_is_missing_can_be_sent_elsewhere(app, add):
    app.conf.update(task_queues=["mails"], task_create_missing_queues=False)

    assert build(app, add, queue="mails").routing_key == "mails"
    with pytest.raises(QueueNotFound, match="celery"):
        build(app, add)


def test_limits_of_settings_are_the_workers_and_not_sent(app, add):
    app.conf.update(task_time_limit=10.0)

    assert build(app, add).headers["timelimit"] == [None, None]


def test_a_body_can_be_compressed(app, add):
    message = build(app, add, ("x" * 1000,), compression="gzip")

    assert message.headers["compression"] == "application/x-gzip"
    assert len(message.body) < 200


def test_a_body_larger_than_allowed_is_refused_at_the_caller(app, add):
    app.conf.task_max_body_bytes = 1000

    with pytest.raises(EncodeError, match="task_max_body_bytes"):
        build(app, add, ("x" * 1000,))


def test_arguments_that_cannot_be_serialized_are_refused_at_the_caller(app, add):
    with pytest.raises(EncodeError):
        build(app, add, (object(),))


@pytest.mark.parametrize(("args", "kwargs"), [("ab", {}), ({1}, {}), ((), [1])])
def test_arguments_of_the_wrong_kind_are_a_type_error(app, add, args, kwargs):
    with pytest.raises(TypeError, match=r"proj\.add"):
        build(app, add, args, kwargs)


def test_a_call_inside_a_task_belongs_to_it(app, add):
    parent = Context.from_message(
        task_headers(task="p", id="p1", root_id="r1", origin="", argsrepr="", kwargsrepr=""), [], {}, None
    )
    parent.delivery_info = {"priority": 7}
    app.conf.task_inherit_parent_priority = True
    token = push(parent)
    try:
        message = build(app, add)
    finally:
        pop(token)

    assert (message.headers["parent_id"], message.headers["root_id"]) == ("p1", "r1")
    assert message.priority == 7


def test_a_signature_in_wire_form_becomes_a_message(app, add):
    signature = json.loads(json.dumps(add.signature((2,), countdown=3, task_id="fixed")))
    immutable = json.loads(json.dumps(add.si(2)))

    message = app.publisher.build_signature(signature, prefix_args=(1,))

    assert json.loads(message.body)[0] == [1, 2]
    assert message.headers["id"] == "fixed"
    assert message.due is not None
    assert json.loads(app.publisher.build_signature(immutable, prefix_args=(1,)).body)[0] == [2]


# -- sending ---------------------------------------------------------------------------------------


def test_a_message_is_published_and_both_events_tell(app, add, published):
    seen = []

    def before(sender, message, **_):
        seen.append(("before", sender, len(published())))

    def after(sender, message, **_):
        seen.append(("after", sender, len(published())))

    events.before_task_publish.connect(before)
    events.after_task_publish.connect(after)
    try:
        add.delay(1)
    finally:
        events.before_task_publish.disconnect(before)
        events.after_task_publish.disconnect(after)

    assert seen == [("before", "proj.add", 0), ("after", "proj.add", 1)]


def test_a_lost_connection_is_opened_again_and_the_message_sent(app, add, published, break_transport):
    break_transport(TransportLost("gone"), TransportLost("gone"))

    add.delay(1)

    assert len(published()) == 1


def test_it_gives_up_after_the_retries_of_the_policy(app, add, published, break_transport):
    break_transport(*[TransportLost("gone")] * 10)

    with pytest.raises(TransportLost):
        add.apply_async((1,), retry_policy={"max_retries": 2, "interval_step": 0})
    with pytest.raises(TransportLost):
        add.apply_async((1,), retry=False)
    assert published() == []


def test_it_gives_up_at_its_deadline(app, add, break_transport):
    break_transport(*[TransportLost("gone")] * 10)
    start = app.clock.monotonic()

    with pytest.raises(TransportLost):
        add.apply_async((1,), timeout=0.05, retry_policy={"max_retries": None, "interval_start": 0.04})

    assert app.clock.monotonic() - start < 1


def test_a_refusal_is_not_tried_again(app, add, published, break_transport):
    break_transport(StoreFull("no room"))

    with pytest.raises(StoreFull):
        add.delay(1)

    assert published() == []


def test_many_calls_are_one_call_to_the_broker(app, add, published):
    calls = app.connections.transport().calls

    results = app.publish_many(add.s(number) for number in range(50))

    assert calls["publish"] == 1
    assert [message.headers["id"] for message in published()] == [result.id for result in results]


def test_one_wrong_call_among_many_publishes_none(app, add, published):
    with pytest.raises(TypeError):
        app.publish_many([add.s(1), add.s(1, 2, 3)])

    assert published() == []


def test_queues_of_a_topic_exchange_exist_before_the_first_message(celeriac_url):
    queues = [Queue("errors", Exchange("log", "topic"), "log.error"), Queue("all", Exchange("log", "topic"), "log.#")]
    with Celeriac("topics", broker=celeriac_url, task_queues=queues, set_as_current=False) as app:
        app.send_task("log.it", queue="all", routing_key="log.error")
        depths = app.connections.transport().depths(timeout=1)

    assert {depth.queue: depth.waiting for depth in depths} == {"all": 1, "errors": 1}
