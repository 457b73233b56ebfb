import copy
import json
import pickle

import pytest

from celeriac.errors import ConfigurationError, InvalidMessage
from celeriac.model.signature import Signature, signature
from celeriac.model.wireform import signatures


class RecordingApp:
    """What a signature needs of an app; it notes what it is asked for."""

    def __init__(self):
        self.asked = []
        self.made = 0

    def call_signature(self, sig, args, kwargs):
        self.asked.append(("call", args, kwargs))
        return 7

    def apply_signature(self, sig):
        self.asked.append(("apply", sig))

    def send_signature(self, sig):
        self.asked.append(("send", sig))
        return self

    def get(self):
        return 8

    def result_of(self, sig):
        return f"result {sig.id}"

    def task_of(self, sig):
        return f"task {sig.task}"

    def reply_to(self):
        return ""

    def new_id(self):
        self.made += 1
        return f"id{self.made}"


@pytest.fixture
def app():
    return RecordingApp()


def add(*args, app=None, **options):
    return signature("proj.add", args, app=app, **options)


def test_a_signature_is_the_mapping_of_its_wire_form():
    made = signature("proj.add", (1, 2), {"z": 3}, queue="q")

    assert json.loads(json.dumps(made)) == {
        "task": "proj.add",
        "args": [1, 2],
        "kwargs": {"z": 3},
        "options": {"queue": "q"},
        "subtask_type": None,
        "immutable": False,
    }
    assert (made.task, made.name, made.args, made.kwargs, made.options) == (
        "proj.add",
        "proj.add",
        (1, 2),
        {"z": 3},
        {"queue": "q"},
    )
    assert made.__json__() == dict(made)


def test_a_mapping_becomes_a_signature_again():
    made = json.loads(json.dumps(add(1, queue="q", immutable=True)))

    again = signature(made)

    assert isinstance(again, Signature)
    assert again == add(1, queue="q", immutable=True)
    assert signature(again) is again


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "task"),
        ({"task": 7}, "task"),
        ({"task": "t", "args": "ab"}, "args"),
        ({"task": "t", "kwargs": []}, "kwargs"),
        ({"task": "t", "options": 3}, "options"),
    ],
)
def test_a_malformed_mapping_is_an_error_that_names_the_field(data, field):
    with pytest.raises(InvalidMessage, match=rf"signature\.{field}"):
        signature(data)


def test_missing_keys_but_the_task_have_defaults():
    assert signature({"task": "t"}) == signature("t")


def test_a_subclass_is_found_by_its_type():
    @Signature.register_type("special-for-this-test")
    class Special(Signature): ...

    try:
        assert type(signature({"task": "t", "subtask_type": "special-for-this-test"})) is Special
    finally:
        del Signature.types["special-for-this-test"]


def test_more_arguments_go_in_front_and_options_win():
    made = signature("t", (3,), {"a": 1, "b": 2}, queue="q", priority=1)

    more = made.clone((1, 2), {"b": 3}, priority=9)

    assert (more.args, more.kwargs, more.options) == (
        (1, 2, 3),
        {"a": 1, "b": 3},
        {"queue": "q", "priority": 9},
    )
    assert made.options == {"queue": "q", "priority": 1}


def test_an_immutable_signature_takes_options_but_no_arguments():
    more = add(1, immutable=True).clone((5,), {"y": 6}, queue="q")

    assert (more.args, more.kwargs, more.options) == ((1,), {}, {"queue": "q"})


def test_the_group_and_stamps_of_a_workflow_are_kept():
    made = add(1, group_id="g", stamped_headers=["customer"], customer=1)

    more = made.clone(group_id="other", customer=2, stamped_headers=["else"])

    assert more.options == {"group_id": "g", "stamped_headers": ["customer"], "customer": 1}


def test_copies_share_nothing():
    made = signature("t", (), {"list": [1]}, headers={"a": [1]}, link=[add(1)])

    for copied in (made.clone(), copy.deepcopy(made), copy.copy(made), pickle.loads(pickle.dumps(made))):
        copied.kwargs["list"].append(2)
        copied.options["headers"]["a"].append(2)
        copied.options["link"][0].options["queue"] = "changed"

    assert made.kwargs == {"list": [1]}
    assert made.options == {"headers": {"a": [1]}, "link": [add(1)]}


def test_replace_replaces_parts_as_a_whole():
    made = signature("t", (1,), {"a": 1}, queue="q").replace(args=(2,), kwargs={})

    assert (made.args, made.kwargs, made.options) == ((2,), {}, {"queue": "q"})


def test_set_changes_in_place():
    made = add(1)

    assert made.set(immutable=True, queue="q") is made
    assert (made.immutable, made.options) == (True, {"queue": "q"})


def test_links_are_added_once_and_found_again():
    made = add(1)
    first, second = add(2), add(3)

    assert made.link(first) is first
    made.link(first)
    first.link(second)

    assert made.on_error(add(4)) is made
    assert made.options["link"] == [first]
    assert made.options["link_error"] == [add(4)]
    assert made.flatten_links() == [made, first, second]


def test_a_single_link_becomes_a_list():
    made = add(1, link=add(2))

    made.link(add(3))

    assert made.options["link"] == [add(2), add(3)]


def test_freezing_fixes_the_id_once(app):
    made = add(1, app=app)

    first = made.freeze(group_id="g", root_id="r", parent_id="p", group_index=3)
    second = made.freeze("other")

    assert first == second == "result id1"
    assert (made.id, made.root_id, made.parent_id) == ("id1", "r", "p")
    assert (made.options["group_id"], made.options["group_index"]) == ("g", 3)


def test_calls_go_to_the_app_with_everything_completed(app):
    made = signature("t", (2,), {"a": 1}, app=app, queue="q")

    assert made(1, b=2) == 7
    assert ~made == 8
    made.delay(1)
    made.apply_async((1,), priority=3, eta=None)
    made.apply((1,), priority=3)

    assert app.asked == [
        ("call", (1, 2), {"a": 1, "b": 2}),
        ("send", signature("t", (2,), {"a": 1}, queue="q")),
        ("send", signature("t", (1, 2), {"a": 1}, queue="q")),
        ("send", signature("t", (1, 2), {"a": 1}, queue="q", priority=3)),
        ("apply", signature("t", (1, 2), {"a": 1}, queue="q", priority=3)),
    ]
    assert made.type == "task t"


def test_a_signature_without_an_app_says_so(monkeypatch):
    monkeypatch.setattr(Signature, "default_app", None)

    with pytest.raises(ConfigurationError, match=r"proj\.add"):
        add(1).app  # noqa: B018


def test_a_signature_is_shown_as_a_call():
    assert repr(signature("t", (2,), {"a": "x"})) == "t(2, a='x')"
    assert signature("t", (2,)).reprcall(1, b=3) == "t(1, 2, b=3)"


def test_links_in_wire_form_are_lists_of_plain_mappings():
    assert signatures(None) is signatures([]) is None
    assert signatures(add(1)) == [dict(add(1))]
    assert type(signatures([add(1)])[0]) is dict
    with pytest.raises(TypeError, match="must be a signature"):
        signatures(["t"])


def test_a_signature_without_an_app_uses_the_current_one(app, monkeypatch):
    monkeypatch.setattr(Signature, "default_app", staticmethod(lambda: app))

    assert add(1).app is app
    assert add(1).subtask_type is None
    assert add(1).set(queue="q").immutable is False
