import asyncio
import copy
import pickle
import threading
from datetime import UTC, datetime

import pytest

from celeriac import AsyncResult, ResultSet, allow_join_result
from celeriac.client.context import Context, pop, push
from celeriac.client.result import result_from_tuple
from celeriac.errors import ContentDisallowed, RemoteError, TaskRevokedError, Unsupported
from celeriac.errors import TimeoutError as ResultTimeout
from celeriac.model.document import exception_data, result_document
from celeriac.model.protocol import task_headers
from celeriac.model.record import ResultRecord

pytestmark = pytest.mark.plugins


def failure(error):
    return exception_data(error)


@pytest.fixture
def inside_a_task():
    headers = task_headers(task="t", id="id", origin="o", argsrepr="()", kwargsrepr="{}")
    token = push(Context.from_message(headers, [], {}, None))
    yield
    pop(token)


# -- reading ---------------------------------------------------------------------------------------


def test_an_unknown_id_is_pending_and_does_not_exist(app):
    result = app.AsyncResult("unknown")

    assert (result.state, result.result, result.ready(), result.exists()) == ("PENDING", None, False, False)
    assert (result.traceback, result.children, result.date_done) == (None, [], None)


def test_an_id_is_needed(app):
    with pytest.raises(ValueError, match="id of a task"):
        app.AsyncResult(None)


def test_a_success_has_a_value_and_a_moment(app, finish):
    finish("a", 42)
    result = app.AsyncResult("a")

    assert (result.state, result.result, result.info, result.get()) == ("SUCCESS", 42, 42, 42)
    assert result.successful()
    assert abs((datetime.now(UTC) - result.date_done).total_seconds()) < 5


def test_what_is_ready_is_not_asked_for_again(app, finish):
    finish("a", 42)
    result = app.AsyncResult("a")
    result.get()
    calls = app.connections.results().calls
    before = calls["get"]

    assert (result.state, result.get(), result.traceback) == ("SUCCESS", 42, None)
    assert calls["get"] == before


def test_a_failure_is_raised_or_returned(app, finish):
    finish("a", failure(KeyError("k")), "FAILURE")
    result = app.AsyncResult("a")

    with pytest.raises(KeyError, match="k"):
        result.get()
    with pytest.raises(KeyError):
        result.throw()
    assert result.failed()
    assert isinstance(result.get(propagate=False), KeyError)


def test_the_remote_traceback_is_a_note_of_the_exception(app):
    document = result_document(task_id="a", state="FAILURE", result=failure(KeyError("k")), traceback="remote lines")
    payload, content_type, encoding = app.codecs.dumps(document, "json")
    record = ResultRecord(
        id="a", state="FAILURE", payload=payload, content_type=content_type, content_encoding=encoding
    )
    app.connections.results().put([record], timeout=1)
    result = app.AsyncResult("a")

    with pytest.raises(KeyError) as caught:
        result.get()

    assert "remote lines" in caught.value.__notes__[0]
    assert result.traceback == "remote lines"


def test_an_exception_of_an_unknown_type_tells_the_same(app, finish):
    data = {"exc_type": "Strange", "exc_message": ["odd"], "exc_module": "not.imported"}
    finish("a", data, "FAILURE")

    with pytest.raises(RemoteError, match="Strange: odd"):
        app.AsyncResult("a").get()


def test_a_revoked_task_raises_so(app, finish):
    finish("a", failure(TaskRevokedError("revoked")), "REVOKED")

    with pytest.raises(TaskRevokedError):
        app.AsyncResult("a").get()


def test_a_retry_in_progress_is_neither_ready_nor_raised(app, finish):
    finish("a", failure(KeyError("k")), "RETRY")
    result = app.AsyncResult("a")

    assert (result.ready(), result.failed()) == (False, False)
    assert isinstance(result.maybe_throw(), KeyError)


def test_results_in_a_serializer_that_is_not_accepted_are_not_read(app, finish):
    app.conf.result_serializer = "pickle"
    finish("a", 42)

    with pytest.raises(ContentDisallowed):
        app.AsyncResult("a").get()
    app.conf.result_accept_content = ("pickle",)
    assert app.AsyncResult("a").get() == 42


def test_children_come_from_the_record(app):
    document = result_document(task_id="a", state="SUCCESS", result=1, children=[[["b", None], None]])
    payload, content_type, encoding = app.codecs.dumps(document, "json")
    record = ResultRecord(
        id="a", state="SUCCESS", payload=payload, content_type=content_type, content_encoding=encoding
    )
    app.connections.results().put([record], timeout=1)

    assert app.AsyncResult("a").children == [AsyncResult("b")]


def test_a_forgotten_result_is_unknown(app, finish):
    finish("a", 42)
    result = app.AsyncResult("a")
    result.get()

    result.forget()

    assert not result.exists()


# -- waiting ---------------------------------------------------------------------------------------


def test_get_waits_until_the_task_has_ended(app, finish):
    result = app.AsyncResult("a")
    started = threading.Event()
    values = []

    def wait():
        started.set()
        values.append(result.get(timeout=5))

    thread = threading.Thread(target=wait)
    thread.start()
    started.wait(5)
    finish("a", 42)
    thread.join(5)

    assert values == [42]


def test_get_gives_up_in_time_and_says_what_can_be_done(app):
    with pytest.raises(ResultTimeout, match=r"task unknown within 0\.01 s"):
        app.AsyncResult("unknown").get(timeout=0.01)
    with pytest.raises(ResultTimeout):
        app.AsyncResult("unknown").get(timeout=0)


def test_a_timeout_of_zero_returns_what_is_there(app, finish):
    finish("a", 42)

    assert app.AsyncResult("a").get(timeout=0) == 42


def test_a_callback_is_given_id_and_value(app, finish):
    seen = []
    finish("a", 42)

    app.AsyncResult("a").get(callback=lambda *given: seen.append(given))

    assert seen == [("a", 42)]


@pytest.mark.usefixtures("inside_a_task")
def test_waiting_inside_a_task_is_refused_with_the_fix(app, finish):
    result = app.AsyncResult("a")
    finish("b", 1)

    with pytest.raises(RuntimeError, match="allow_join_result"):
        result.get(timeout=0)
    with pytest.raises(RuntimeError, match="callback"):
        ResultSet([result]).get(timeout=0)
    with pytest.raises(RuntimeError):
        asyncio.run(result.aget(timeout=0))
    with allow_join_result():
        assert app.AsyncResult("b").get(timeout=1) == 1
    assert app.AsyncResult("b").get(timeout=1, disable_sync_subtasks=False) == 1


def test_a_result_is_awaitable(app, finish):
    async def wait():
        result = app.AsyncResult("a")
        waiting = asyncio.ensure_future(result.aget(timeout=5))
        await asyncio.to_thread(finish, "a", 42)
        return await waiting, await result

    assert asyncio.run(wait()) == (42, 42)


def test_awaiting_gives_up_in_time(app):
    with pytest.raises(ResultTimeout):
        asyncio.run(app.AsyncResult("unknown").aget(timeout=0.01))


def test_awaiting_a_failure_raises_it(app, finish):
    finish("a", failure(KeyError("k")), "FAILURE")

    async def wait():
        return await app.AsyncResult("a")

    with pytest.raises(KeyError):
        asyncio.run(wait())


def test_then_calls_back_with_the_result(app, finish):
    done, failed = threading.Event(), threading.Event()
    app.AsyncResult("a").then(lambda result: result.get() == 1 and done.set())
    app.AsyncResult("b").then(lambda result: None, on_error=lambda result: failed.set())

    finish("a", 1)
    finish("b", failure(KeyError("k")), "FAILURE")

    assert done.wait(5)
    assert failed.wait(5)


# -- acting on it ----------------------------------------------------------------------------------


def test_a_revoked_id_is_in_the_set_that_workers_ask(app):
    app.AsyncResult("a").revoke()
    ResultSet([app.AsyncResult("b")]).revoke()

    assert app.connections.coordinator().recall("revoked", ["a", "b", "c"], timeout=1) == {"a", "b"}


def test_ending_a_running_task_by_force_is_refused(app):
    with pytest.raises(Unsupported, match="terminate"):
        app.AsyncResult("a").revoke(terminate=True)


# -- as a value ------------------------------------------------------------------------------------


def test_results_are_equal_by_id(app):
    first, second = app.AsyncResult("a"), AsyncResult("a")

    assert first == second == "a"
    assert len({first, second, AsyncResult("b")}) == 2
    assert first != AsyncResult("b")
    assert first != 7


def test_a_result_is_pickled_and_copied_by_its_id(app):
    result = AsyncResult("a", app=app, task_name="t", parent=AsyncResult("p"))

    for same in (pickle.loads(pickle.dumps(result)), copy.copy(result)):
        assert (same, same.name, same.parent) == (result, "t", AsyncResult("p"))


def test_tuples_and_lists_name_a_result_and_its_parents():
    result = AsyncResult("a", parent=AsyncResult("p", parent=AsyncResult("g")))

    assert result.as_tuple() == (("a", (("p", (("g", None), None)), None)), None)
    assert result.as_list() == ["a", "p", "g"]
    assert result_from_tuple(result.as_tuple()).parent.parent == AsyncResult("g")
    assert result_from_tuple("a") == result_from_tuple(result) == result


# -- sets ------------------------------------------------------------------------------------------


def test_a_set_returns_values_in_its_own_order(app, finish):
    results = ResultSet(app.AsyncResult(each) for each in "abc")
    threading.Thread(target=lambda: [finish(each, each.upper()) for each in "cab"]).start()

    assert results.get(timeout=5) == ["A", "B", "C"]


def test_a_set_raises_as_soon_as_one_has_failed(app, finish):
    finish("b", failure(KeyError("k")), "FAILURE")
    results = ResultSet([app.AsyncResult("a"), app.AsyncResult("b")])

    with pytest.raises(KeyError):
        results.get(timeout=5)


def test_a_set_can_return_exceptions(app, finish):
    finish("a", 1)
    finish("b", failure(KeyError("k")), "FAILURE")

    first, second = ResultSet([app.AsyncResult("a"), app.AsyncResult("b")]).get(timeout=5, propagate=False)

    assert first == 1
    assert isinstance(second, KeyError)


def test_the_timeout_of_a_set_is_shared(app, finish):
    finish("a", 1)

    with pytest.raises(ResultTimeout, match="2 of 3 tasks"):
        ResultSet([app.AsyncResult(each) for each in "abc"]).get(timeout=0.01)


def test_a_set_asks_for_all_states_at_once(app, finish):
    finish("a", 1)
    finish("b", failure(KeyError("k")), "FAILURE")
    results = ResultSet([app.AsyncResult(each) for each in "abc"])
    calls = app.connections.results().calls
    before = calls["get"]

    assert (results.ready(), calls["get"] - before) == (False, 1)
    assert (results.waiting(), results.successful(), results.failed(), results.completed_count()) == (
        True,
        False,
        True,
        1,
    )


def test_a_set_holds_each_result_once_and_can_be_changed(app):
    results = ResultSet([AsyncResult("a"), AsyncResult("a"), AsyncResult("b")])
    results.add(AsyncResult("b"))
    results.remove("a")
    results.discard("nothing")

    assert list(results) == [results[0]] == [AsyncResult("b")]
    with pytest.raises(KeyError):
        results.remove("a")
    results.clear()
    assert len(results) == 0
    assert results == ResultSet()


def test_a_set_is_awaitable_and_forgets(app, finish):
    for each in "ab":
        finish(each, each)
    results = ResultSet([app.AsyncResult(each) for each in "ab"])

    async def wait():
        return await results

    assert asyncio.run(wait()) == ["a", "b"]
    results.forget()
    assert not app.AsyncResult("a").exists()
    with pytest.raises(ResultTimeout):
        asyncio.run(ResultSet([app.AsyncResult("never")]).aget(timeout=0.01))
