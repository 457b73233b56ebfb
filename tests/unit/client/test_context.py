import pytest

from celeriac.client.context import Context, allow_join_result, current_context, may_join, pop, push
from celeriac.model.protocol import Embed, task_headers

HEADERS = task_headers(
    task="proj.add", id="id", origin="gen1@host", argsrepr="(1,)", kwargsrepr="{}", group="g", timelimit=(10, 5)
)


def made(**headers):
    return Context.from_message({**HEADERS, **headers}, [1], {}, Embed(chain=[{"task": "x"}]), hostname="worker")


def test_a_context_reads_what_the_message_says():
    context = made(retries=2)

    assert (context.id, context.task, context.root_id, context.group) == ("id", "proj.add", "id", "g")
    assert (context.retries, context.time_limit, context.soft_time_limit) == (2, 10, 5)
    assert (context.args, context.kwargs, context.hostname) == ([1], {}, "worker")
    assert context.chain == [{"task": "x"}]
    assert context.called_directly is False


def test_a_header_of_the_users_own_is_an_attribute_and_in_headers():
    context = made(customer=7)

    assert context.customer == 7
    assert context.headers == {"customer": 7}


def test_an_attribute_that_is_nowhere_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no 'customer'"):
        made().customer  # noqa: B018


def test_get_returns_the_default_for_what_is_nowhere():
    assert made().get("customer", "nobody") == "nobody"


def test_a_header_cannot_replace_what_the_worker_fills():
    context = made(followups="x", children="y", args="z")

    assert (context.followups, context.children, context.args) == ([], [], [1])


def test_an_empty_context_is_one_of_a_direct_call():
    context = Context()

    assert context.called_directly
    assert (context.id, context.retries, context.headers, context.callbacks) == (None, 0, None, None)


def test_contexts_nest():
    outer, inner = made(), made(id="inner")

    first = push(outer)
    second = push(inner)

    assert current_context() is inner
    pop(second)
    assert current_context() is outer
    pop(first)
    assert current_context() is None


def test_execution_options_lead_to_the_same_run_again():
    options = made(stamps={"customer": 7}, stamped_headers=["customer"], shadow="s").as_execution_options()

    assert options["task_id"] == "id"
    assert options["group_id"] == "g"
    assert options["time_limit"] == 10
    assert options["chain"] == [{"task": "x"}]
    assert (options["customer"], options["stamped_headers"]) == (7, ["customer"])


def test_waiting_is_allowed_outside_tasks_and_where_it_was_allowed():
    outside = may_join()
    token = push(made())
    try:
        inside = may_join()
        with allow_join_result():
            allowed = may_join()
    finally:
        pop(token)

    assert (outside, inside, allowed) == (True, False, True)
