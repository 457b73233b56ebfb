import json

import pytest

from celeriac import chain, chord, group, signature
from celeriac.client.canvas.stamping import StampingVisitor

pytestmark = pytest.mark.plugins


@pytest.fixture
def add(app):
    @app.task(name="add")
    def add(*numbers):
        return sum(numbers)

    return add


class Noting(StampingVisitor):
    """Notes what it is asked for, and gives each task a number."""

    def __init__(self):
        self.asked = []

    def on_signature(self, sig, **headers):
        self.asked.append("signature")
        return {"number": len(self.asked)}

    def on_chain_start(self, chain, **headers):
        self.asked.append("chain")
        return {"flow": "mine", "priority": 3, "stamped_headers": ["flow"]}

    def on_chain_end(self, chain, **headers):
        self.asked.append("end")


def stamps(sig):
    return {name: sig.options[name] for name in sig.options.get("stamped_headers", ())}


def test_a_stamp_travels_in_the_headers_of_the_message(add, published):
    add.s(1).stamp(batch="b7", owner="me").apply_async()

    (message,) = published()
    assert sorted(message.headers["stamped_headers"]) == ["batch", "owner"]
    assert message.headers["stamps"] == {"batch": "b7", "owner": "me"}


def test_everything_in_a_workflow_and_linked_to_it_is_stamped(add):
    first = add.s(1).on_error(add.s("failed"))
    body = add.s(3)
    body.link(add.s("done"))
    made = chain(first, chord([add.s(2), group(add.s(4))], body))

    made.stamp(batch="b7")

    parts = []

    def walk(value):
        if isinstance(value, dict):
            if value.get("task") == "add":
                parts.append(value)
            value = list(value.values())
        for each in value if isinstance(value, list | tuple) else ():
            walk(each)

    walk(json.loads(json.dumps(made)))
    assert len(parts) == 6
    assert all(part["options"]["batch"] == "b7" for part in parts)


def test_a_visitor_is_asked_for_each_part_from_the_outside_in(add):
    visitor = Noting()
    made = chain(add.s(1), add.s(2))

    assert made.stamp(visitor) is made

    assert visitor.asked == ["chain", "signature", "signature", "end"]
    assert [stamps(step) for step in made.tasks] == [{"flow": "mine", "number": 2}, {"flow": "mine", "number": 3}]
    assert made.tasks[0].options["priority"] == 3


def test_a_second_stamp_of_a_name_replaces_the_first_or_joins_it(add):
    assert stamps(add.s(1).stamp(batch="a").stamp(batch="b")) == {"batch": "b"}
    assert stamps(add.s(1).stamp(batch="a").stamp(batch="b", append_stamps=True)) == {"batch": ["b", "a"]}


def test_links_alone_can_be_stamped(add):
    made = add.s(1)
    made.link(json.loads(json.dumps(add.s(2))))

    made.stamp_links(batch="b7")

    assert stamps(made) == {}
    assert stamps(signature(made.options["link"][0])) == {"batch": "b7"}


def test_a_retry_and_what_takes_the_place_of_a_run_keep_its_stamps(app):
    seen = []

    @app.task(name="told", bind=True)
    def told(self):
        seen.append(self.request.stamps)

    @app.task(name="handed", bind=True)
    def handed(self):
        if self.request.retries == 0:
            raise self.retry(countdown=0)
        self.replace(chain(told.si(), group(told.si(), told.si())))

    handed.s().stamp(batch="b7").apply()

    assert seen == [{"batch": "b7"}] * 3
