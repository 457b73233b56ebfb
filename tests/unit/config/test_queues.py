"""Queues of kombu and dictionaries, read by their attributes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from celeriac.config.queues import as_exchange, as_queue, from_options, is_queue
from celeriac.errors import ConfigurationError, InvalidSetting
from celeriac.model.routing import Binding, Exchange, Queue, bound


def exchange(name="e", type_="direct", **more):
    return SimpleNamespace(**{"name": name, "type": type_, "durable": True, "arguments": {}, **more})


def queue(name="q", **more):
    fields = {"exchange": exchange(""), "routing_key": "", "durable": True, "exclusive": False, "auto_delete": False}
    limits = dict.fromkeys(("max_priority", "message_ttl", "expires", "max_length", "max_length_bytes"))
    tables = {"queue_arguments": None, "binding_arguments": None, "bindings": set()}
    return SimpleNamespace(name=name, **{**fields, **limits, **tables, **more})


def test_an_object_that_looks_like_a_queue_is_one_with_all_its_fields():
    given = queue(
        exchange=exchange("maths", "topic", durable=False),
        routing_key="maths.#",
        durable=False,
        exclusive=True,
        auto_delete=True,
        max_priority=5,
        message_ttl=1.5,
        expires=60,
        max_length=10,
        queue_arguments={"x-queue-type": "quorum"},
    )

    assert as_queue(given) == Queue(
        "q",
        Exchange("maths", "topic", durable=False),
        "maths.#",
        durable=False,
        exclusive=True,
        auto_delete=True,
        max_priority=5,
        message_ttl_seconds=1.5,
        expires_seconds=60,
        arguments={"x-max-length": 10, "x-queue-type": "quorum"},
    )


def test_a_queue_without_an_exchange_or_a_key_leaves_them_to_the_settings():
    assert as_queue(queue()) == Queue("q")
    assert as_queue(queue(exchange=None)) == Queue("q")


def test_every_binding_of_a_queue_is_declared():
    ways = {("e1", "a"), ("e2", "b"), ("e1", "c")}
    bindings = [SimpleNamespace(exchange=exchange(name), routing_key=key, arguments=None) for name, key in ways]

    made = as_queue(queue(exchange=None, bindings=bindings))

    assert {(each.exchange.name, each.key) for each in bound([made])} == ways
    assert {each.name for each in bound([made])} == {"q"}


def test_a_binding_beside_an_exchange_is_one_more():
    more = SimpleNamespace(exchange=exchange("other"), routing_key="b", arguments=None)

    made = as_queue(queue(exchange=exchange("first"), routing_key="a", bindings=[more]))

    assert made == Queue("q", Exchange("first"), "a", bindings=(Binding(Exchange("other"), "b"),))


def test_what_is_no_queue_is_an_invalid_setting():
    assert not is_queue(7)
    with pytest.raises(InvalidSetting, match="task_queues"):
        as_queue(7)
    with pytest.raises(InvalidSetting, match="queue of Celeriac or kombu"):
        as_queue(exchange())


def test_a_headers_exchange_is_refused_with_what_takes_its_place():
    with pytest.raises(ConfigurationError, match=r"'e' is of type headers.*topic"):
        as_queue(queue(exchange=exchange("e", "headers")))
    with pytest.raises(ConfigurationError, match="headers"):
        as_exchange("e", "headers")
    with pytest.raises(ConfigurationError, match="headers"):
        from_options("q", {"exchange": "e", "exchange_type": "headers"})


@pytest.mark.parametrize(
    "given",
    [
        queue(exchange=exchange(arguments={"alternate-exchange": "a"})),
        queue(binding_arguments={"x": 1}),
        queue(bindings=[SimpleNamespace(exchange=exchange(), routing_key="a", arguments={"x": 1})]),
    ],
)
def test_arguments_that_nobody_would_keep_are_refused(given):
    with pytest.raises(ConfigurationError, match="cannot be kept"):
        as_queue(given)


def test_a_dictionary_takes_the_names_of_kombu():
    options = {
        "exchange": "maths",
        "exchange_type": "topic",
        "exchange_durable": False,
        "binding_key": "maths.#",
        "queue_durable": False,
        "queue_arguments": {"x-queue-type": "quorum"},
        "message_ttl": 5,
        "expires": 60,
        "max_length": 3,
        "max_priority": 9,
        "bindings": [{"exchange": "more", "routing_key": "k"}],
    }

    made = from_options("q", options)

    assert made == Queue(
        "q",
        Exchange("maths", "topic", durable=False),
        "maths.#",
        durable=False,
        max_priority=9,
        message_ttl_seconds=5,
        expires_seconds=60,
        arguments={"x-max-length": 3, "x-queue-type": "quorum"},
        bindings=(Binding(Exchange("more"), "k"),),
    )


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(ConfigurationError, match=r"no option 'routing_kye'.*routing_key"):
        from_options("q", {"routing_kye": "a"})


def test_a_default_exchange_may_be_an_object():
    assert as_exchange(exchange("e", "fanout")) == Exchange("e", "fanout")
    assert as_exchange(exchange("e", "")) == Exchange("e")
    with pytest.raises(InvalidSetting, match="task_default_exchange"):
        as_exchange(7, setting="task_default_exchange")
