import copy
import json
import pickle

import pytest

from celeriac import Signature, chain, chord, chunks, group, signature, xmap, xstarmap
from celeriac.client.canvas import composing  # noqa: F401  makes `|` work
from celeriac.errors import InvalidMessage

pytestmark = pytest.mark.plugins


@pytest.fixture
def add(app):
    @app.task(name="add")
    def add(*numbers):
        return sum(numbers)

    return add


def shape(sig):
    """Return the kinds and first arguments of a workflow, as a small tree."""
    if isinstance(sig, chord):
        return ("chord", [shape(each) for each in sig.tasks], None if sig.body is None else shape(sig.body))
    if isinstance(sig, chain | group):
        return (sig.kind, [shape(each) for each in sig.tasks])
    return sig.args[0]


def s(number):
    return Signature("t", (number,))


def pair(first=1):
    return group(s(first), s(first + 1))


# -- what `|` makes --------------------------------------------------------------------------------

TABLE = [
    (lambda: s(1) | s(2), ("chain", [1, 2])),
    (lambda: s(1) | (s(2) | s(3)), ("chain", [1, 2, 3])),
    (lambda: s(1) | s(2) | s(3), ("chain", [1, 2, 3])),
    (lambda: s(1) | pair(2), ("chain", [1, ("group", [2, 3])])),
    (lambda: s(1) | group(s(2)), ("chain", [1, 2])),
    (lambda: pair() | s(3), ("chord", [1, 2], 3)),
    (lambda: group(s(1)) | s(2), ("chord", [1], 2)),
    (lambda: group([]) | s(2), ("chord", [], 2)),
    (lambda: pair() | pair(3), ("chord", [1, 2], ("group", [3, 4]))),
    (lambda: pair() | group([]), ("group", [1, 2])),
    (lambda: chain(group(s(1)), s(2)), ("chain", [1, 2])),
    (lambda: s(1) | pair(2) | s(4), ("chain", [1, ("chord", [2, 3], 4)])),
    (lambda: chord([s(1)], s(2)) | s(3), ("chord", [1], ("chain", [2, 3]))),
    (lambda: chord([s(1)], s(2)) | chord([s(3)], s(4)), ("chord", [1], ("chain", [2, ("chord", [3], 4)]))),
    (lambda: chord([s(1)], s(2)) | pair(3), ("chain", [("chord", [1], 2), ("group", [3, 4])])),
    (lambda: s(1) | pair(2) | s(4) | s(5), ("chain", [1, ("chord", [2, 3], ("chain", [4, 5]))])),
]


@pytest.mark.parametrize(("make", "expected"), TABLE, ids=[str(expected) for _, expected in TABLE])
def test_two_signatures_compose_to_what_the_table_says(make, expected):
    assert shape(make()) == expected


def test_operands_that_grow_are_copied():
    left, joined = s(1) | s(2), chord([s(1)], s(2))

    assert shape(left | s(3)) == ("chain", [1, 2, 3])
    assert shape(joined | s(3)) == ("chord", [1], ("chain", [2, 3]))
    assert (shape(left), shape(joined)) == (("chain", [1, 2]), ("chord", [1], 2))


def test_only_signatures_compose():
    with pytest.raises(TypeError):
        s(1) | 2


# -- making them -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [group, chain])
def test_members_come_one_by_one_or_as_anything_that_gives_them(make):
    parts = [s(1), s(2)]

    for made in (make(*parts), make(parts), make(each for each in parts), make(tuple(parts))):
        assert [each.args for each in made.tasks] == [(1,), (2,)]


def test_a_chord_takes_its_header_in_any_form():
    for header in ([s(1), s(2)], (s(1), s(2)), pair(), (s(n) for n in (1, 2))):
        assert shape(chord(header, s(3))) == ("chord", [1, 2], 3)


@pytest.mark.parametrize("make", [lambda: group(1, 2), lambda: chain(s(1), "a"), lambda: chord([s(1)], "body")])
def test_what_is_no_signature_is_no_member_and_the_error_says_so(make):
    with pytest.raises(TypeError, match=r"made of signatures, such as task\.s\(\)"):
        make()


def test_a_chord_without_a_body_cannot_be_sent_or_followed(add):
    with pytest.raises(ValueError, match="without a body"):
        chord([add.s(1)]).apply_async()
    with pytest.raises(TypeError, match="no body"):
        chord([add.s(1)]) | add.s(2)


def test_an_empty_chain_cannot_be_sent(app):
    with pytest.raises(ValueError, match="empty chain"):
        chain(app=app).apply_async()


def test_an_empty_group_is_done_at_once(app, published):
    result = group([], app=app).apply_async()

    assert (result.get(), result.ready(), result.successful(), published()) == ([], True, True, [])


# -- as data ---------------------------------------------------------------------------------------

WORKFLOWS = {
    "chain": lambda: chain(s(1), s(2)).set(queue="q"),
    "group": lambda: group(s(1), chain(s(2), s(3))).set(priority=1),
    "chord": lambda: chord([s(1), pair(2)], chain(s(4), s(5))),
    "map": lambda: xmap(s(1), [1, 2]),
    "starmap": lambda: xstarmap(s(1), [(1, 2)]),
    "chunks": lambda: chunks(s(1), [(1,), (2,)], 1),
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_is_the_same_after_json(name):
    made = WORKFLOWS[name]()

    read = signature(json.loads(json.dumps(made)))

    assert json.loads(json.dumps(read)) == json.loads(json.dumps(made))
    assert name in ("map", "starmap", "chunks") or type(read) is type(made)


@pytest.mark.parametrize("name", WORKFLOWS)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda sig: pickle.loads(pickle.dumps(sig)), Signature.clone])
def test_a_copy_shares_nothing_with_the_workflow(name, copied):
    made = WORKFLOWS[name]()
    before = json.dumps(made)

    other = copied(made)
    for part in other.kwargs.get("tasks") or other.kwargs.get("header") or [other.kwargs["task"]]:
        part.set(queue="elsewhere")

    assert json.dumps(made) == before


@pytest.mark.parametrize("missing", ["args", "kwargs", "options"])
def test_a_member_that_is_malformed_is_named(missing):
    data = json.loads(json.dumps(pair()))
    data["kwargs"]["tasks"][0][missing] = 1

    with pytest.raises(InvalidMessage, match=missing):
        signature(data)


def test_the_header_of_a_chord_may_be_a_group_as_celery_sends_it():
    data = json.loads(json.dumps(chord([s(1), s(2)], s(3))))
    data["kwargs"]["header"] = json.loads(json.dumps(pair().set(task_id="header")))

    read = signature(data)

    assert (shape(read), read.header_id) == (("chord", [1, 2], 3), "header")


# -- arguments, options, links ---------------------------------------------------------------------


def test_arguments_given_later_go_in_front_of_those_of_the_first_step(add, published):
    (add.s(1) | add.s(2)).apply_async((5,))

    (message,) = published()
    assert json.loads(message.body)[0] == [5, 1]


def test_every_member_of_a_group_is_given_the_arguments(add, published):
    group(add.s(1), add.s(2), add.si(3)).apply_async((5,))

    assert [json.loads(message.body)[0] for message in published()] == [[5, 1], [5, 2], [3]]


def test_keyword_arguments_go_to_what_begins(app, published):
    @app.task(name="named")
    def named(*args, **kwargs):
        return [args, kwargs]

    chain(group(named.s(1), named.si(2)), named.s()).apply_async(kwargs={"a": 1})
    (named.s(3) | named.s(4)).apply_async(kwargs={"a": 1})

    assert [json.loads(message.body)[1] for message in published()] == [{"a": 1}, {}, {"a": 1}]


def test_an_immutable_group_takes_no_arguments(add, published):
    made = group(add.s(1), add.s(2))
    made.set_immutable(True)
    made.apply_async((5,))

    assert [json.loads(message.body)[0] for message in published()] == [[1], [2]]


def test_calling_a_workflow_publishes_it(add, published):
    result = group(add.s(1), add.s(2))(5)

    assert sorted(message.headers["id"] for message in published()) == sorted(each.id for each in result)


def test_options_of_a_group_are_those_of_its_members_but_for_its_id(add, published):
    result = group(add.s(1), add.s(2)).apply_async(task_id="mine", shadow="other")

    messages = published()
    assert result.id == "mine"
    assert {message.headers["group"] for message in messages} == {"mine"}
    assert {message.headers["shadow"] for message in messages} == {"other"}
    assert len({message.headers["id"] for message in messages}) == 2


def test_links_of_a_chain_are_called_by_its_last_step_and_errbacks_by_each():
    made = chain(s(1), s(2)).clone()
    made.link(s("done"))
    made.link_error(s("failed"))

    first, last = made.unchained()

    assert "link" not in first.options
    assert [link.args for link in last.options["link"]] == [("done",)]
    assert [each.options["link_error"][0].args for each in (first, last)] == [("failed",)] * 2


def test_links_of_a_chord_are_those_of_its_body():
    made = chord([s(1)], s(2))
    made.link(s("done"))
    made.link_error(s("failed"))

    assert [link.args for link in made.body.options["link"]] == [("done",)]
    assert [link.args for link in made.body.options["link_error"]] == [("failed",)]


def test_errbacks_of_a_group_are_called_by_each_member():
    made = pair()
    made.link_error(s("failed"))

    assert [len(each.options["link_error"]) for each in made.tasks] == [1, 1]


def test_a_skewed_group_begins_one_after_the_other():
    assert [each.options["countdown"] for each in group(s(n) for n in range(4)).skew(1, 3, 1).tasks] == [1, 2, 1, 2]


def test_replace_replaces_the_parts_of_a_workflow_as_a_whole():
    made = pair()

    other = made.replace(kwargs={"tasks": [s(9)]}, options={"queue": "q"})

    assert (shape(other), other.options, shape(made)) == (("group", [9]), {"queue": "q"}, ("group", [1, 2]))


# -- ids fixed before it is sent -------------------------------------------------------------------


def test_a_frozen_workflow_has_the_results_that_it_has_when_it_is_sent(add):
    made = add.s(1) | group(add.s(2), add.s(3)) | add.s(4) | group(add.s(5), add.s(6))

    frozen = made.freeze()

    assert made.apply_async().as_tuple() == frozen.as_tuple()
    assert frozen.parent.parent.parent.parent is None
    assert [len(frozen), len(frozen.parent.parent)] == [2, 2]


def test_freezing_fixes_the_given_id_on_what_the_workflow_ends_with(add):
    assert (add.s(1) | add.s(2)).freeze("mine").id == "mine"
    assert chord([add.s(1)], add.s(2)).freeze("mine").id == "mine"
    assert group(add.s(1)).freeze("mine").id == "mine"


def test_freezing_again_changes_nothing(add):
    made = chord([add.s(1), add.s(2)], add.s(3))

    assert made.freeze().as_tuple() == made.freeze("other").as_tuple()


# -- run here --------------------------------------------------------------------------------------


def test_a_workflow_runs_here_with_everything_that_follows_it(app, add):
    result = (add.s(1) | group(add.s(2), add.s(3)) | add.s()).apply
    with pytest.raises(TypeError):
        result(throw=True)  # a list is no number

    @app.task(name="total")
    def total(values):
        return sum(values)

    assert (add.s(1) | group(add.s(2), add.s(3)) | total.s()).apply().get() == 7


def test_one_run_for_many_arguments_returns_the_list(add):
    assert add.map([1, 2]).apply().get() == [1, 2]
    assert add.starmap([(1, 2), (3, 4)]).apply().get() == [3, 7]
    assert add.chunks([(1, 2), (3, 4), (5, 6)], 2).group().apply().get() == [[3, 7], [11]]


def test_a_chunk_holds_at_least_one_call(add):
    with pytest.raises(ValueError, match="at least one"):
        add.chunks([(1,)], 0)
