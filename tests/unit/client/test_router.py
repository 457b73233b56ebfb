import re

import pytest

from celeriac.client.app import Celeriac
from celeriac.errors import ConfigurationError, InvalidSetting, QueueNotFound
from celeriac.model.routing import Exchange, Queue


def router(**settings):
    return Celeriac("routes", set_as_current=False, **settings).router


def sent_to(made, name="proj.add", **options):
    destination = made.destination({**made.route(name), **options})
    return destination.exchange, destination.routing_key


def route_by_first_argument(name, args, kwargs, options, task=None, **rest):
    return {"queue": args[0]} if args else None


class RouterObject:
    def route_for_task(self, name, args=None, kwargs=None):
        return "by-object" if name == "proj.add" else None


def test_without_routes_a_task_goes_to_the_default_queue():
    assert sent_to(router()) == ("", "celery")
    assert sent_to(router(task_default_queue="jobs")) == ("", "jobs")


@pytest.mark.parametrize(
    "routes",
    [
        {"proj.add": {"queue": "maths"}},
        {"proj.add": "maths"},
        {"proj.*": "maths"},
        {re.compile(r"proj\.(add|mul)$"): "maths"},
        [("proj.*", "maths")],
        [{"other.*": "other"}, {"proj.*": "maths"}],
        {"proj.*": "other", "proj.add": "maths"},
        lambda name, args, kwargs, options, task=None: "maths",
        [lambda *args, **kwargs: None, {"proj.add": "maths"}],
    ],
)
def test_every_form_of_route_sends_a_task_to_its_queue(routes):
    assert sent_to(router(task_routes=routes)) == ("", "maths")


def test_a_glob_matches_the_whole_name():
    made = router(task_routes={"proj.a?d": "maths"})

    assert sent_to(made, "proj.add") == ("", "maths")
    assert sent_to(made, "proj.adder") == ("", "celery")


def test_a_router_is_also_an_object_or_the_path_of_one(tmp_path, monkeypatch):
    (tmp_path / "routes_of_a_project.py").write_text("ROUTES = {'proj.*': 'by-path'}")
    monkeypatch.syspath_prepend(tmp_path)

    assert sent_to(router(task_routes=RouterObject())) == ("", "by-object")
    assert sent_to(router(task_routes="routes_of_a_project:ROUTES")) == ("", "by-path")
    assert sent_to(router(task_routes="routes_of_a_project.ROUTES")) == ("", "by-path")


def test_a_path_that_cannot_be_imported_is_an_invalid_setting():
    with pytest.raises(InvalidSetting, match=r"no\.such:router"):
        router(task_routes="no.such:router")


def test_a_route_of_the_wrong_type_is_an_invalid_setting():
    with pytest.raises(InvalidSetting, match="task_routes"):
        router(task_routes=7)
    with pytest.raises(InvalidSetting, match=re.escape("'proj.add'")):
        router(task_routes={"proj.add": 7}).route("proj.add")


def test_only_functions_and_objects_make_routes_depend_on_the_call():
    assert not router(task_routes={"proj.*": "maths"}).dynamic
    assert router(task_routes=route_by_first_argument).dynamic
    assert router(task_routes=route_by_first_argument).route("x", ["there"]) == {"queue": "there"}


def test_options_that_the_caller_gives_join_those_of_the_route_key_by_key():
    made = router(task_routes={"proj.add": {"queue": "maths", "routing_key": "a.b"}})

    assert sent_to(made, queue="other") == ("", "other")
    assert sent_to(made, exchange="events") == ("events", "a.b")


def test_a_queue_on_a_topic_exchange_is_reached_through_it():
    made = router(task_queues=[Queue("logs", Exchange("log", "topic"), "log.#")])

    assert sent_to(made, queue="logs") == ("log", "log.#")
    assert sent_to(made, queue="logs", routing_key="log.error") == ("log", "log.error")


def test_an_explicit_exchange_and_routing_key_are_used_as_they_are():
    assert sent_to(router(), exchange=Exchange("fan", "fanout"), routing_key="k") == ("fan", "k")


def test_queues_are_given_as_objects_names_or_a_mapping():
    listed = router(task_queues=["a", Queue("b")]).queues
    mapped = router(task_queues={"a": None, "b": {"exchange": "e", "exchange_type": "topic", "routing_key": "b.#"}})

    assert list(listed) == ["a", "b"]
    assert mapped.queues["b"] == Queue("b", Exchange("e", "topic"), "b.#")


def test_a_misspelt_option_of_a_queue_is_refused_with_the_nearest():
    with pytest.raises(ConfigurationError, match="Did you mean 'routing_key'"):
        router(task_queues={"a": {"routing_kex": "x"}})


def test_the_highest_priority_of_all_queues_is_a_setting():
    made = router(task_queues=["a", Queue("b", max_priority=3)], task_queue_max_priority=9)

    assert {name: queue.max_priority for name, queue in made.queues.items()} == {"a": 9, "b": 3}


def test_a_missing_queue_is_created_and_can_be_seen_to_be():
    made = router()
    before = made.revision

    made.queue("new")

    assert made.revision > before
    assert made.queues["new"].exchange == Exchange("new", "direct")


def test_a_missing_queue_is_an_error_where_none_are_created():
    made = router(task_queues=["mails"], task_create_missing_queues=False)

    with pytest.raises(QueueNotFound, match="Did you mean 'mails'"):
        made.queue("mail")


def test_a_worker_reads_all_defined_queues_or_the_selected_ones():
    made = router(task_queues=["a", "b", "c"])

    assert [queue.name for queue in made.queues_to_consume()] == ["a", "b", "c"]
    assert [queue.name for queue in made.queues_to_consume(["c", "x", "c"])] == ["c", "x"]
    assert [queue.name for queue in made.queues_to_consume(exclude=["b"])] == ["a", "c"]


def test_excluding_what_is_not_read_or_everything_is_an_error():
    made = router(task_queues=["mails"])

    with pytest.raises(ConfigurationError, match="Did you mean 'mails'"):
        made.queues_to_consume(exclude=["mail"])
    with pytest.raises(ConfigurationError, match="No queue is left"):
        made.queues_to_consume(exclude=["mails"])


def test_the_router_follows_a_changed_setting():
    app = Celeriac("routes", set_as_current=False)
    before = sent_to(app.router)

    app.conf.task_routes = {"proj.*": "maths"}

    assert (before, sent_to(app.router)) == (("", "celery"), ("", "maths"))


def test_types_of_queues_are_their_arguments():
    made = router(task_default_queue_type="quorum", task_create_missing_queue_type="classic")
    assert made.queue("celery").arguments == {"x-queue-type": "quorum"}
    assert made.queue("named").arguments == {}

    made = router(task_create_missing_queue_type="quorum", task_create_missing_queue_exchange_type="topic")
    assert made.queue("celery").arguments == {}
    assert made.queue("named").arguments == {"x-queue-type": "quorum"}
    assert made.queue("named").exchange == Exchange("named", "topic")
    assert sent_to(made, queue="named") == ("named", "named")
