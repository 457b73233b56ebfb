"""The queues and exchanges of kombu itself, wherever queues are given."""

from __future__ import annotations

import kombu
import pytest

from celeriac.client.app import Celeriac
from celeriac.errors import ConfigurationError
from celeriac.model.routing import Exchange, bound

TOPIC = kombu.Exchange("maths", type="topic")


def router(**settings):
    return Celeriac("entities", set_as_current=False, broker_url="memory://", **settings).router


def sent_to(made, name="proj.add", **options):
    destination = made.destination({**made.route(name), **options})
    return destination.exchange, destination.routing_key


def test_queues_are_given_as_objects_in_a_list_or_a_mapping():
    for given in ([kombu.Queue("q", TOPIC, "maths.#")], {"q": kombu.Queue("other", TOPIC, "maths.#")}):
        (found,) = router(task_queues=given).queues.values()
        assert (found.name, found.exchange, found.key) == ("q", Exchange("maths", "topic"), "maths.#")


def test_a_queue_without_an_exchange_gets_the_default_one_which_may_be_an_object():
    made = router(task_queues=[kombu.Queue("q")], task_default_exchange=TOPIC)

    assert made.queues["q"].exchange == Exchange("maths", "topic")
    assert made.queues["q"].key == "q"


def test_every_binding_of_a_queue_is_declared():
    bindings = [kombu.binding(TOPIC, "maths.#"), kombu.binding(TOPIC, "physics.*")]

    made = router(task_queues=[kombu.Queue("q", bindings)])

    assert sorted(each.key for each in bound(made.queues.values())) == ["maths.#", "physics.*"]


def test_routes_and_calls_take_objects():
    made = router(task_routes={"proj.*": {"queue": kombu.Queue("q", TOPIC, "maths.add")}})
    assert sent_to(made) == ("maths", "maths.add")
    assert sent_to(router(task_routes={"proj.*": kombu.Queue("plain")})) == ("", "plain")
    assert sent_to(router(), queue=kombu.Queue("called")) == ("", "called")
    assert sent_to(router(), exchange=TOPIC, routing_key="a.b") == ("maths", "a.b")


def test_a_headers_exchange_is_refused():
    with pytest.raises(ConfigurationError, match="headers"):
        router(task_queues=[kombu.Queue("q", kombu.Exchange("e", type="headers"))])


def test_what_a_queue_of_kombu_limits_is_kept():
    made = router(task_queues=[kombu.Queue("q", TOPIC, max_length=5, message_ttl=2.0, expires=9.0, max_priority=3)])

    found = made.queues["q"]

    assert (found.message_ttl_seconds, found.expires_seconds, found.max_priority) == (2.0, 9.0, 3)
    assert found.arguments == {"x-max-length": 5}
