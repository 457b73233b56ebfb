import pytest

from celeriac.errors import InvalidMessage
from celeriac.model.protocol import check_body, check_headers, moment_from_text, task_headers

MINIMUM = {"task": "proj.add", "id": "1"}


def headers(**changes):
    table = task_headers(task="proj.add", id="1", origin="gen1@box", argsrepr="(1, 2)", kwargsrepr="{}")
    return {**table, **changes}


def test_every_header_is_written_in_the_order_of_the_protocol():
    assert list(headers()) == [
        "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id",
        "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers",
        "stamps",
    ]  # fmt: skip


def test_a_task_without_a_root_is_its_own():
    assert headers()["root_id"] == "1"


def test_a_message_with_task_and_id_alone_is_enough():
    checked = check_headers(MINIMUM)

    assert (checked.task, checked.id, checked.retries, checked.eta) == ("proj.add", "1", 0, None)


def test_headers_of_the_users_own_do_not_disturb():
    assert check_headers(headers(tenant="acme", retries=2)).retries == 2


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ({"id": "1"}, "task"),
        ({"task": "proj.add"}, "id"),
        (headers(task=7), "task"),
        (headers(id=None), "id"),
        (headers(retries="many"), "retries"),
        (headers(timelimit=[1]), "timelimit"),
        (headers(timelimit=["soon", None]), "timelimit[0]"),
        (headers(group_index="first"), "group_index"),
        (headers(stamps=[]), "stamps"),
        (headers(eta=12), "eta"),
    ],
)
def test_a_malformed_header_is_named(table, field):
    with pytest.raises(InvalidMessage) as caught:
        check_headers(table)

    assert caught.value.field == field


def test_a_body_gives_args_kwargs_and_what_follows():
    step = {"task": "proj.mul", "args": [2]}

    args, kwargs, embed = check_body([[1], {"y": 2}, {"callbacks": [step], "chord": None}])

    assert (args, kwargs) == ([1], {"y": 2})
    assert embed.callbacks == [step]


@pytest.mark.parametrize("embed", [None, {}])
def test_a_body_with_nothing_to_follow_is_taken(embed):
    assert check_body([[], {}, embed])[2].chain is None


def test_a_mapping_as_body_is_taken():
    assert check_body({"args": [1], "kwargs": {"y": 2}})[:2] == ([1], {"y": 2})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (7, "body"),
        ("text", "body"),
        ([[], {}], "body"),
        ([7, {}, {}], "body.args"),
        ([[], [], {}], "body.kwargs"),
        ([[], {1: 2}, {}], "body.kwargs"),
        ([[], {}, {"chain": 7}], "body.embed.chain"),
        ([[], {}, {"callbacks": [7]}], "body.embed.callbacks[0]"),
        ([[], {}, 7], "body.embed"),
    ],
)
def test_a_malformed_body_is_named(body, field):
    with pytest.raises(InvalidMessage) as caught:
        check_body(body)

    assert caught.value.field == field


def test_moments_are_read_with_and_without_offset():
    assert moment_from_text("1970-01-01T01:00:00+01:00", "eta") == 0.0
    assert moment_from_text("1970-01-01T00:00:01", "eta") == 1.0


@pytest.mark.parametrize("text", ["tomorrow", "", "2026-13-01T00:00:00"])
def test_a_text_that_is_no_moment_is_refused_by_name(text):
    with pytest.raises(InvalidMessage) as caught:
        moment_from_text(text, "expires")

    assert caught.value.field == "expires"


@pytest.mark.parametrize(
    ("call", "task", "ignored"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_a_call_that_says_whether_its_result_is_kept_wins_over_its_task(call, task, ignored):
    headers = check_headers({"task": "add", "id": "1", "ignore_result": call})

    assert headers.ignores_result(task) is ignored
