"""A worker on RabbitMQ when its connection fails: the shortest of what tests/faults does at length."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

pytest.importorskip("celeriac_amqp.transport")
from celeriac_amqp.testing import installed

if not installed():
    pytest.skip("RabbitMQ is not installed", allow_module_level=True)

import amqp_faults as faults
from amqp_rig import AmqpRig
from running import eventually

from celeriac.errors import ConfigurationError, DeadlineExceeded, StoreError, TransportLost, Unroutable
from celeriac_amqp.testing import Node, running_server

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with running_server() as node:
        yield node


@pytest.mark.parametrize(
    ("fault", "state", "queue_type"),
    [
        (faults.reset, faults.taking, "classic"),
        (faults.ended, faults.settling, "quorum"),
        (faults.torn, faults.taking, "quorum"),
        (faults.closed, faults.settling, "classic"),
        (faults.swallowed, faults.busy, "quorum"),
        (faults.killed, faults.busy, "quorum"),
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_every_accepted_task_runs_once(node: Node, fault: faults.Fault, state: faults.State, queue_type: str) -> None:
    faults.endure(AmqpRig(node, queue_type=queue_type), fault, state)


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_what_runs_as_the_connection_breaks_runs_once_also_where_it_ends_without_one(
    node: Node, queue_type: str
) -> None:
    with AmqpRig(node, queue_type=queue_type) as rig, rig.working():
        rig.occupy()
        rig.publish(10)
        rig.proxy.refuse()
        rig.proxy.drop()
        rig.gate.set()
        eventually(lambda: sum(rig.ended.values()) >= 4, "the runs end")
        rig.proxy.heal()


def test_a_worker_starts_although_rabbitmq_is_not_there_yet(node: Node) -> None:
    with AmqpRig(node) as rig:
        rig.proxy.refuse()
        with rig.working():
            rig.publish(5)
            rig.proxy.heal()


def test_who_publishes_while_memory_is_short_is_told_and_who_takes_goes_on(node: Node) -> None:
    with AmqpRig(node) as rig, rig.working():
        rig.publish(200)
        with faults.short_of_memory(rig):
            rig.client.conf.broker_timeout_seconds = 1.0
            with pytest.raises((DeadlineExceeded, TransportLost), match="memory"):
                _publish_often(rig)
            eventually(lambda: len(rig.ended) >= 200, "what waited runs")
            eventually(lambda: _unacknowledged(rig) == 0, "and is acknowledged", 20)
        # What was sent while nothing was read may have arrived: it runs, and is in no book.
        rig.client.conf.broker_timeout_seconds = 10.0
        assert eventually(lambda: rig.publish(5), "the client publishes again")


def _publish_often(rig: AmqpRig) -> None:
    """RabbitMQ stops reading as the first message comes, and confirms that one or not."""
    for _ in range(3):
        rig.client.tasks["double"].delay(1)


def _unacknowledged(rig: AmqpRig) -> int:
    listed = rig.node.ctl("list_queues", "-p", rig.vhost, "name", "messages_unacknowledged", "--quiet")
    counts = dict(line.split("\t") for line in listed.splitlines()[1:])
    return int(counts["celery"])


def test_a_queue_that_is_deleted_is_declared_again_and_that_is_said(node: Node) -> None:
    with AmqpRig(node) as rig, rig.working():
        rig.publish(5)
        rig.balance()
        rig.node.call("DELETE", f"queues/{rig.vhost}/celery")
        rig.publish(5)
        rig.balance()
        rig.node.call("DELETE", f"queues/{rig.vhost}/celery")
        # Nobody publishes: the worker that consumes it notices.
        eventually(lambda: _exists(rig), "the queue is there again", 20)
        rig.publish(5)
    told = [record for record in rig.records if getattr(record, "event", "") == "amqp_queue_deleted"]
    assert told


def _exists(rig: AmqpRig) -> bool:
    try:
        rig.node.call("GET", f"queues/{rig.vhost}/celery")
    except OSError:
        return False
    return True


def test_an_exchange_that_reaches_no_queue_or_is_gone_is_an_error_that_names_it(node: Node) -> None:
    with AmqpRig(node) as rig:
        for name in ("empty", "gone"):
            rig.node.call("PUT", f"exchanges/{rig.vhost}/{name}", {"type": "topic", "durable": True})
        rig.node.call("PUT", f"queues/{rig.vhost}/bound", {"durable": True})
        rig.node.call("POST", f"bindings/{rig.vhost}/e/gone/q/bound", {"routing_key": "k"})
        double = rig.client.tasks["double"]

        with pytest.raises(Unroutable, match="empty"):
            double.apply_async((1,), exchange="empty", routing_key="k")
        double.apply_async((1,), exchange="gone", routing_key="k")
        rig.node.call("DELETE", f"exchanges/{rig.vhost}/gone")
        with pytest.raises(Unroutable, match="gone"):
            double.apply_async((1,), exchange="gone", routing_key="k")
        double.delay(1)


def test_a_right_that_is_taken_away_is_named_and_given_back_it_goes_on(node: Node) -> None:
    with AmqpRig(node) as rig, rig.working():
        rig.publish(5)
        rig.balance()
        rights = f"permissions/{quote(rig.vhost, safe='')}/guest"
        rig.node.call("PUT", rights, {"configure": "^$", "write": "^$", "read": "^$"})
        rig.client.connections.close()  # RabbitMQ remembers rights for as long as a channel lasts
        rig.proxy.drop()
        with pytest.raises(ConfigurationError, match=r"access.*refused.*set_permissions"):
            rig.client.tasks["double"].delay(1)
        eventually(lambda: _warned(rig, "refused"), "the worker says why it does not work")

        rig.node.call("PUT", rights, {"configure": ".*", "write": ".*", "read": ".*"})
        assert eventually(lambda: rig.publish(5), "the client publishes again")


def test_a_virtual_host_that_is_removed_is_named_with_the_fix_and_made_again_it_goes_on(node: Node) -> None:
    with AmqpRig(node) as rig, rig.working():
        rig.publish(5)
        rig.balance()
        rig.node.call("DELETE", f"vhosts/{rig.vhost}")
        rig.client.connections.close()
        with pytest.raises(StoreError, match="add_vhost"):
            rig.client.tasks["double"].delay(1)
        eventually(lambda: _warned(rig, "add_vhost"), "the worker says why it does not work")

        rig.node.call("PUT", f"vhosts/{rig.vhost}")
        rig.node.call("PUT", f"permissions/{rig.vhost}/guest", {"configure": ".*", "write": ".*", "read": ".*"})
        assert eventually(lambda: rig.publish(5), "the client publishes again")


def _warned(rig: AmqpRig, text: str) -> bool:
    return any(text in record.getMessage() for record in rig.records)
