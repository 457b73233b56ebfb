import os
import threading
from contextlib import suppress

import pytest
from running import eventually

from celeriac.client.app import Celeriac
from celeriac.client.states import state_record
from celeriac.errors import ConfigurationError, DecodeError, StoreLost
from celeriac.errors import TimeoutError as ResultTimeout
from celeriac.spi.results import ResultStore, Waits

pytestmark = pytest.mark.plugins


class Polled(ResultStore):
    """A store that cannot announce, in front of one that can; it breaks when told to."""

    def __init__(self, inner, errors):
        super().__init__(inner.address, inner.context)
        self.inner = inner
        self.errors = errors

    def _open(self, timeout):
        self.inner.open(timeout=timeout)

    def _close(self):
        self.inner.close()

    def _put(self, records, timeout):
        self.inner.put(records, timeout=timeout)

    def _get(self, ids, timeout):
        if self.errors:
            raise self.errors.pop(0)
        return self.inner.get(ids, timeout=timeout)

    def _delete(self, ids, timeout):
        return self.inner.delete(ids, timeout=timeout)


class Announcing(Polled, Waits):
    """The same, announcing; `changed` breaks when told to."""

    def watch(self, ids, *, timeout):
        self.inner.watch(ids, timeout=timeout)

    def unwatch(self, ids, *, timeout):
        self.inner.unwatch(ids, timeout=timeout)

    def changed(self, *, timeout):
        if self.errors:
            raise self.errors.pop(0)
        return self.inner.changed(timeout=timeout)


@pytest.fixture
def use(app, monkeypatch):
    """Give a function that puts a store in front of the app's own, with errors to come."""
    new = app.connections.new_results
    opened = []

    def use_store(kind, *errors):
        left = list(errors)

        def make():
            opened.append(kind(new(), left))
            return opened[-1]

        monkeypatch.setattr(app.connections, "new_results", make)
        return opened

    return use_store


def waiters():
    return [thread for thread in threading.enumerate() if thread.name == "celeriac-results"]


def finish_later(app, *ids):
    def finish():
        records = [state_record(app, each, "SUCCESS", each, None) for each in ids]
        while True:
            with suppress(StoreLost):  # who waits may drop the app's connection at this very moment
                return app.connections.results().put(records, timeout=1)

    thread = threading.Thread(target=finish)
    thread.start()
    return thread


@pytest.mark.parametrize("kind", [Polled, Announcing])
def test_results_arrive_from_stores_that_announce_and_that_do_not(app, use, kind):
    use(kind)
    thread = finish_later(app, "a", "b")

    records = list(app.waiter.wait(["a", "b"], 5))

    thread.join(5)
    assert {record.id for record in records} == {"a", "b"}


@pytest.mark.parametrize("kind", [Polled, Announcing])
def test_an_outage_is_waited_out_over_a_new_connection(app, use, kind):
    opened = use(kind, StoreLost("gone"), StoreLost("gone"), StoreLost("gone"))
    result = app.AsyncResult("a")
    values = []
    waiting = threading.Thread(target=lambda: values.append(result.get(timeout=10)))
    waiting.start()
    finish_later(app, "a").join(5)
    waiting.join(10)

    assert values == ["a"]
    assert len(opened) > 1


def test_reading_a_state_survives_one_broken_connection(app, use):
    use(Polled, StoreLost("gone"))

    assert app.AsyncResult("a").state == "PENDING"


def test_an_error_that_is_no_outage_reaches_who_waits(app, use):
    use(Polled, StoreLost("gone"), DecodeError("broken"))

    with pytest.raises(DecodeError, match="broken"):
        app.AsyncResult("a").get(timeout=5)


def test_an_error_at_the_first_question_reaches_who_asks(app, use):
    use(Polled, DecodeError("broken"))

    with pytest.raises(DecodeError):
        app.AsyncResult("a").get(timeout=5)


def test_however_many_wait_there_is_one_thread(app):
    results = [app.AsyncResult(str(number)) for number in range(20)]
    values = []
    threads = [threading.Thread(target=lambda each=each: values.append(each.get(timeout=10))) for each in results]
    for thread in threads:
        thread.start()
    counted = len(waiters())
    finish_later(app, *[result.id for result in results]).join(5)
    for thread in threads:
        thread.join(10)

    assert counted <= 1
    assert sorted(values, key=int) == [result.id for result in results]


@pytest.mark.parametrize("kind", [Polled, Announcing])
def test_who_waits_alone_needs_no_thread(app, use, kind):
    use(kind)
    before = set(threading.enumerate())
    finishing = finish_later(app, "a")

    value = app.AsyncResult("a").get(timeout=5)

    assert value == "a"
    assert set(threading.enumerate()) - before <= {finishing}


def test_a_reader_that_has_what_it_wanted_leaves_the_others_to_the_thread(app):
    values = []
    reader = threading.Thread(target=lambda: values.append(app.AsyncResult("a").get(timeout=10)))
    reader.start()
    eventually(app.waiter._reading.locked, "a reader")
    other = threading.Thread(target=lambda: values.append(app.AsyncResult("b").get(timeout=10)))
    other.start()
    eventually(lambda: "b" in app.waiter._wanted, "another who waits")

    finish_later(app, "a").join(5)
    reader.join(10)
    finish_later(app, "b").join(5)
    other.join(10)

    assert values == ["a", "b"]


def test_a_reader_that_is_interrupted_can_wait_again(app, use):
    use(Announcing, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        app.AsyncResult("a").get(timeout=5)
    finish_later(app, "a").join(5)

    assert app.AsyncResult("a").get(timeout=5) == "a"


def test_several_may_wait_for_one_result(app):
    values = []
    threads = [threading.Thread(target=lambda: values.append(app.AsyncResult("a").get(timeout=5))) for _ in range(5)]
    for thread in threads:
        thread.start()
    finish_later(app, "a").join(5)
    for thread in threads:
        thread.join(5)

    assert values == ["a"] * 5


def test_who_gave_up_is_not_called_and_may_wait_again(app):
    result = app.AsyncResult("a")
    with pytest.raises(ResultTimeout):
        result.get(timeout=0.01)

    finish_later(app, "a").join(5)

    assert result.get(timeout=5) == "a"


def test_closing_the_app_ends_the_thread_and_tells_who_waits(app):
    errors = []

    def wait():
        try:
            app.AsyncResult("a").get(timeout=10)
        except StoreLost as error:
            errors.append(error)

    threads = [threading.Thread(target=wait) for _ in range(2)]
    for thread in threads:
        thread.start()
    app.AsyncResult("b").then(print)  # nobody waits for it, so the thread does
    eventually(lambda: app.waiter._reading.locked() and len(waiters()) == 1, "a reader and the thread")

    app.close()
    for thread in threads:
        thread.join(5)

    assert len(errors) == 2
    assert waiters() == []


def test_a_closed_app_can_be_used_again(app):
    app.close()
    finish_later(app, "a").join(5)

    assert app.AsyncResult("a").get(timeout=5) == "a"


def test_an_app_without_results_says_what_to_set(celeriac_url):
    with Celeriac("none", broker=celeriac_url, backend="disabled", set_as_current=False) as app:
        for ask in (lambda: app.AsyncResult("a").get(), lambda: app.AsyncResult("a").state):
            with pytest.raises(ConfigurationError, match="result_backend"):
                ask()


def test_a_forked_child_waits_with_a_thread_of_its_own(tmp_path):
    with Celeriac("forks", broker=f"sqlite:///{tmp_path}/queue.db", set_as_current=False) as app:
        app.connections.results().put([state_record(app, "a", "SUCCESS", 42, None)], timeout=5)
        with pytest.raises(ResultTimeout):
            app.AsyncResult("never").get(timeout=0.01)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with pytest.raises(ResultTimeout):
                    app.AsyncResult("never").get(timeout=0.01)
                code = 0 if app.AsyncResult("a").get(timeout=5) == 42 else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)

        assert os.waitstatus_to_exitcode(status) == 0
        assert app.AsyncResult("a").get(timeout=5) == 42
