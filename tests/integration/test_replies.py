"""Results that are sent to who asked for them: who is asked, and what comes of everything a task leads to.

Over a model of such a store inside this process, with a real worker beside the caller.
"""

from __future__ import annotations

import threading
import uuid

import pytest
import reply_store
from reply_store import OFFICES

from celeriac import Celeriac, chain, chord, group
from celeriac.client.identity import process_id
from celeriac.errors import StoreLost, Unsupported
from celeriac.testing.worker import start_worker

PATIENCE = 20


@pytest.fixture(scope="module", autouse=True)
def _installed(tmp_path_factory):
    with reply_store.installed(tmp_path_factory.mktemp("site")):
        yield


@pytest.fixture
def app():
    broker = f"memory://{uuid.uuid4().hex}"
    with Celeriac("replies", broker=broker, backend="reply://", set_as_current=False) as app:
        yield app


@pytest.fixture
def office(app):
    return OFFICES[app.connections.broker_address.host]


@pytest.fixture
def tasks(app):
    @app.task
    def add(x, y):
        return x + y

    @app.task
    def fail(*_):
        raise ValueError("no")

    @app.task
    def add_later(x, y):
        return {"id": add.delay(x, y).id}

    return {"add": add, "fail": fail, "add_later": add_later}


@pytest.fixture
def worker(app, tasks):
    with start_worker(app):
        yield


@pytest.mark.usefixtures("worker")
def test_a_result_comes_back_to_who_asked(tasks, office):
    assert tasks["add"].delay(2, 3).get(PATIENCE) == 5
    assert [name for name, stores in office.listeners.items() if stores] == [process_id()]


@pytest.mark.usefixtures("worker")
def test_a_failure_comes_back_to_who_asked(tasks):
    with pytest.raises(ValueError, match="no"):
        tasks["fail"].delay().get(PATIENCE)


@pytest.mark.usefixtures("worker")
def test_every_step_of_a_chain_and_every_member_of_a_group_comes_back(tasks):
    add = tasks["add"]

    last = chain(add.s(1, 1), add.s(2), add.s(3)).apply_async()
    both = group(add.s(1, n) for n in range(5)).apply_async()
    spread = (add.s(1, 1) | group(add.s(10), add.s(20))).apply_async()

    assert (last.get(PATIENCE), last.parent.get(PATIENCE), last.parent.parent.get(PATIENCE)) == (7, 4, 2)
    assert both.get(PATIENCE) == [1, 2, 3, 4, 5]
    assert spread.get(PATIENCE) == [12, 22]


@pytest.mark.usefixtures("worker")
def test_the_failure_of_a_step_comes_back_for_the_later_ones_too(tasks):
    last = chain(tasks["fail"].s(), tasks["add"].s(2), tasks["add"].s(3)).apply_async()

    with pytest.raises(ValueError, match="no"):
        last.get(PATIENCE)


@pytest.mark.usefixtures("worker")
def test_the_result_of_a_callback_comes_back_to_who_called_the_task(tasks):
    result = tasks["add"].apply_async((1, 2), link=tasks["add"].s(10))
    assert result.get(PATIENCE) == 3

    assert [child.get(PATIENCE) for child in result.children] == [13]


def test_retries_own_states_and_replacements_come_back(app, tasks, office):
    seen = []

    @app.task(bind=True, track_started=True)
    def steps(self, x):
        self.update_state(state="HALF", meta={"x": x})
        if self.request.retries == 0:
            raise self.retry(countdown=0)
        raise self.replace(tasks["add"].s(x, 1))

    deliver = reply_store.ReplyStore._deliver

    class Noting(reply_store.ReplyStore):
        def _deliver(self, record):
            seen.append((record.state, record.reply_to))
            deliver(self, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reply_store.ReplyStore, "_deliver", Noting._deliver)
        with start_worker(app):
            result = steps.delay(4)

            assert result.get(PATIENCE) == 5

    assert {state for state, _ in seen} == {"STARTED", "HALF", "RETRY", "SUCCESS"}
    assert {name for _, name in seen} == {process_id()}


@pytest.mark.usefixtures("worker")
def test_what_a_task_calls_itself_comes_back_to_the_process_it_runs_in(app, tasks):
    inner = tasks["add_later"].delay(1, 2).get(PATIENCE)["id"]

    assert app.AsyncResult(inner).get(PATIENCE) == 3  # the worker is in this process


def test_who_ignores_results_opens_no_place_for_them(app, tasks, office):
    @app.task(ignore_result=True)
    def silent():
        pass

    silent.delay()
    tasks["add"].apply_async((1, 2), ignore_result=True)
    tasks["add"].apply_async((1, 2), reply_to="somebody else")

    assert not any(office.listeners.values())
    assert "results" not in app.connections._open


def test_a_worker_that_only_answers_opens_no_place(app, tasks, office):
    ran = threading.Event()

    @app.task(ignore_result=True)
    def last():
        ran.set()

    tasks["add"].apply_async((1, 2), reply_to="nobody")
    last.delay()

    with start_worker(app):
        assert ran.wait(PATIENCE)
    assert not any(office.listeners.values())


@pytest.mark.usefixtures("worker")
def test_a_result_of_another_process_stays_pending(app, tasks):
    result = tasks["add"].apply_async((1, 2), reply_to="another process")
    tasks["add"].delay(1, 2).get(PATIENCE)

    assert app.AsyncResult(result.id).state == "PENDING"


def test_a_connection_that_took_the_place_of_another_listens_too(app, tasks, office):
    result = tasks["add"].delay(1, 2)
    first = app.connections.results()
    office.listeners[process_id()].append(office)  # the place itself stays
    app.connections.drop(first)

    with start_worker(app):
        assert result.get(PATIENCE) == 3
    assert app.connections.results() is not first
    office.listeners.clear()


def test_a_place_that_is_lost_is_opened_again_before_the_next_message(app, tasks):
    tasks["add"].delay(1, 2)
    first = app.connections.results()
    first.opened = False  # as a broken connection is

    tasks["add"].delay(1, 2)

    assert app.connections.results() is not first
    assert app.connections.results().opened


def test_publishing_says_so_if_no_place_can_be_opened(app, tasks):
    with pytest.MonkeyPatch.context() as patch:

        def broken(self, timeout):
            raise StoreLost("out of reach")

        patch.setattr(reply_store.ReplyStore, "_open", broken)
        with pytest.raises(StoreLost, match="out of reach"):
            tasks["add"].apply_async((1, 2), retry=False)

    assert [depth.waiting for depth in app.connections.transport().depths(timeout=1)] == [0]


def test_chords_are_refused_and_stores_that_can_are_named(app, tasks):
    with pytest.raises(Unsupported, match=r"waiting for a group.*These can: .*memory"):
        chord([tasks["add"].s(1, 1)], tasks["add"].s(1)).apply_async()


def test_saving_a_group_is_refused_and_stores_that_can_are_named(app, tasks):
    result = group(tasks["add"].s(1, 1)).apply_async()

    with pytest.raises(Unsupported, match=r"reply.* saved groups.*These can: .*memory"):
        result.save()
    with pytest.raises(Unsupported, match="saved groups"):
        type(result).restore(result.id, app)


def test_a_store_without_a_host_is_opened_where_the_broker_is(app):
    assert app.connections.new_results().address == app.connections.broker_address


def test_a_store_with_a_host_is_opened_there(app):
    app.conf.update(result_backend="reply://elsewhere")

    assert app.connections.new_results().address.host == "elsewhere"
