import pytest

from celeriac import Celeriac, GroupResult, ResultSet, chain, chord, group
from celeriac.client.result import result_from_tuple
from celeriac.errors import IncompleteStream

pytestmark = pytest.mark.plugins


@pytest.fixture
def eager(app):
    """Give the tasks of an app that runs and stores everything here."""
    app.conf.update(task_always_eager=True, task_store_eager_result=True)

    @app.task(name="add")
    def add(*numbers):
        return sum(each for number in numbers for each in (number if isinstance(number, list) else [number]))

    return add


def results(app, *ids):
    return [app.AsyncResult(id_) for id_ in ids]


def test_a_group_is_the_same_after_its_tuple(app):
    before = app.AsyncResult("before")
    made = GroupResult("g", [app.AsyncResult("a"), GroupResult("h", results(app, "b", "c"))], parent=before, app=app)

    read = result_from_tuple(made.as_tuple(), app)

    assert isinstance(read, GroupResult)
    assert (read.as_tuple(), read.parent.id, read.as_list()) == (made.as_tuple(), "before", ["g", "before"])


def test_the_state_of_a_group_is_that_of_its_tasks_however_deep(app, finish):
    made = GroupResult("g", [app.AsyncResult("a"), GroupResult("h", results(app, "b", "c"), app=app)], app=app)
    finish("a", 1)
    finish("b", 2)

    assert (made.ready(), made.waiting(), made.completed_count(), made.failed()) == (False, True, 1, False)

    finish("c", 3)

    assert (made.ready(), made.successful(), made.completed_count(), made.get()) == (True, True, 2, [1, [2, 3]])


def test_a_failed_member_is_raised_or_returned(app, finish):
    made = GroupResult("g", results(app, "a", "b"), app=app)
    finish("a", 1)
    finish("b", {"exc_type": "KeyError", "exc_message": ["k"], "exc_module": "builtins"}, "FAILURE")

    with pytest.raises(KeyError):
        made.get()
    with pytest.raises(KeyError):
        made.throw()
    one, error = made.get(propagate=False)
    assert (one, type(error), made.failed(), made.successful()) == (1, KeyError, True, False)
    made.maybe_throw(propagate=False)


async def waited(result):
    return await result


def test_a_group_can_be_awaited(app, finish):
    import asyncio  # noqa: PLC0415  only here

    made = GroupResult("g", [app.AsyncResult("a"), GroupResult("h", results(app, "b"), app=app)], app=app)
    finish("a", 1)
    finish("b", 2)

    assert asyncio.run(waited(made)) == [1, [2]]


# -- saved -----------------------------------------------------------------------------------------


def test_a_saved_group_is_found_by_its_id_until_it_is_deleted(app, finish):
    made = GroupResult("g", [app.AsyncResult("a"), GroupResult("h", results(app, "b"))], app=app).save()
    finish("a", 1)
    finish("b", 2)

    found = GroupResult.restore("g", app)

    assert (found.as_tuple(), found.get()) == (made.as_tuple(), [1, [2]])
    made.delete()
    assert GroupResult.restore("g", app) is None
    assert app.AsyncResult("a").get() == 1


def test_a_group_that_has_grown_is_saved_again(app):
    made = GroupResult("g", results(app, "a"), app=app).save()
    made.add(app.AsyncResult("b"))

    made.save()

    assert [each.id for each in GroupResult.restore("g", app)] == ["a", "b"]


def test_a_saved_group_is_no_result_of_a_task(app):
    GroupResult("g", results(app, "a"), app=app).save()

    assert not app.AsyncResult("g").exists()


# -- trees -----------------------------------------------------------------------------------------


def test_the_tree_of_a_workflow_holds_all_that_its_first_task_led_to(eager):
    last = chain(eager.s(1), group(eager.s(10), eager.s(20)), eager.s(5)).apply_async()
    first = last.parent.parent

    assert next(node.id for _, node in first.iterdeps()) == first.id
    assert last.get() == 37
    assert (last.parent.get(), first.get()) == ([11, 21], 1)


def test_a_tree_is_walked_level_by_level(app, finish):
    app.conf.update(result_expires=None)
    store(app, "root", 1, [(("left", None), None), (("g", None), [(("a", None), None), (("b", None), None)])])
    store(app, "left", 2, [(("leaf", None), None)])
    for number, id_ in enumerate(("leaf", "a", "b"), 3):
        finish(id_, number)
    root = app.AsyncResult("root")

    pairs = [(parent and parent.id, node.id) for parent, node in root.iterdeps()]

    expected = [(None, "root"), ("root", "left"), ("root", "g"), ("left", "leaf"), ("g", "a"), ("g", "b")]
    assert pairs == expected
    assert [value for _, value in root.collect(timeout=1)] == [1, 2, [4, 5], 3, 4, 5]
    assert root.get_leaf() == 5
    assert {(tail.id, head.id) for tail, head in root.graph.edges} == {(a, b) for a, b in expected if a}


def test_a_tree_that_is_not_complete_says_so_unless_that_is_allowed(app):
    store(app, "root", 1, [(("late", None), None)])
    root = app.AsyncResult("root")

    with pytest.raises(IncompleteStream, match="late"):
        list(root.iterdeps())
    assert [node.id for _, node in root.iterdeps(intermediate=True)] == ["root", "late"]


def store(app: Celeriac, id_, value, children):
    from celeriac.model.document import result_document  # noqa: PLC0415  only here
    from celeriac.model.record import ResultRecord  # noqa: PLC0415  only here

    document = result_document(task_id=id_, state="SUCCESS", result=value, children=children)
    payload, kind, encoding = app.codecs.dumps(document, "json")
    record = ResultRecord(id=id_, state="SUCCESS", payload=payload, content_type=kind, content_encoding=encoding)
    app.connections.results().put([record], timeout=1)


def test_a_set_of_results_counts_and_throws_too(app, finish):
    finish("a", 1)
    made = ResultSet(results(app, "a", "b"), app=app)

    made.throw()

    assert (made.completed_count(), made.ready()) == (1, False)


def test_chords_have_their_header_in_front(eager):
    result = chord([eager.s(1), eager.s(2)], eager.s(3)).apply_async()

    assert (result.get(), result.parent.get()) == (6, [1, 2])
