"""Steps that fit together, and the errors for those that do not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from celeriac.errors import DuplicateStep, GraphError, MissingNeed, StepCycle
from celeriac.kernel.graph import Graph
from celeriac.kernel.steps import Boot, Key, Step


class Made(Step):
    """A step of any name, needs and provides."""

    def __init__(self, name: str, needs: str = "", provides: str = "") -> None:
        self.name = name
        self.needs = tuple(Key[Any](key) for key in needs.split())
        self.provides = tuple(Key[Any](key) for key in provides.split())

    def start(self, boot: Boot) -> None:
        raise AssertionError("a graph starts nothing")


class Hub(Step):
    name = "hub"
    provides = (Key("hub"),)

    def start(self, boot: Boot) -> None:
        raise AssertionError("a graph starts nothing")


def names(graph: Graph) -> list[str]:
    return [step.name for step in graph.order]


def test_a_step_comes_after_those_that_provide_what_it_needs() -> None:
    graph = Graph([Made("a", needs="pool hub"), Made("b", needs="hub", provides="pool"), Made("c", provides="hub")])

    assert names(graph) == ["c", "b", "a"]


def test_the_order_does_not_depend_on_the_order_of_adding() -> None:
    steps = [Made("hub", provides="hub"), *(Made(f"s{n}", needs="hub") for n in range(5)), Made("alone")]

    orders = set()
    for seed in range(10):
        random.Random(seed).shuffle(steps)
        orders.add(tuple(names(Graph(steps))))

    assert orders == {("alone", "hub", "s0", "s1", "s2", "s3", "s4")}


def test_no_steps_are_a_graph_too() -> None:
    assert Graph([]).order == ()


def test_a_class_is_instantiated_and_an_instance_is_taken_as_it_is() -> None:
    instance = Made("a", needs="hub")

    graph = Graph([instance, Hub])

    assert isinstance(graph.order[0], Hub)
    assert graph.order[1] is instance


def test_a_given_key_is_nobodys_to_provide() -> None:
    app: Key[object] = Key("app")

    graph = Graph([Made("a", needs="app")], given=[app, app])

    assert graph.given == (app,)
    assert graph.provider(app) is None
    with pytest.raises(DuplicateStep, match=r"claim the key 'app': the program itself, which gives it and 'b'"):
        Graph([Made("b", provides="app")], given=[app])


def test_an_edge_names_the_keys_it_stands_for() -> None:
    graph = Graph([Made("a", provides="x y z"), Made("b", needs="z x x")])

    assert graph.digraph.edges["a", "b"]["keys"] == ("z", "x")
    assert graph.provider(Key("x")) is graph.order[0]


def test_two_steps_of_one_name_are_refused() -> None:
    with pytest.raises(DuplicateStep, match=r"claim the name 'hub': .*\.Hub and .*\.Made\. Remove or rename one"):
        Graph([Made("hub"), Hub])


def test_two_providers_of_one_key_are_refused() -> None:
    with pytest.raises(DuplicateStep, match=r"claim the key 'hub': 'a' \(.*\.Made\) and 'hub' \(.*\.Hub\)"):
        Graph([Hub, Made("a", provides="hub")])


def test_a_missing_need_names_the_nearest_key() -> None:
    with pytest.raises(MissingNeed, match=r"'a' needs 'hubb', which no step provides\. Did you mean 'hub'\?") as caught:
        Graph([Made("a", needs="hubb"), Hub])

    assert (caught.value.step, caught.value.key, caught.value.extra) == ("a", "hubb", None)


def test_a_missing_need_names_the_extra_that_brings_it(install: Callable[..., Any]) -> None:
    install(
        "celeriac",
        {"celeriac.extras": {"key.hub": "gevent"}},
        requires=["celeriac-gevent==1.0; extra == 'gevent'"],
    )

    with pytest.raises(MissingNeed, match=r"The extra 'gevent' brings it; run: pip install 'celeriac\[gevent\]'\."):
        Graph([Made("a", needs="hub")])


def test_a_circle_is_named_by_its_path() -> None:
    steps = [
        Made("pool", needs="hub", provides="pool"),
        Made("consumer", needs="pool", provides="consumer"),
        Made("hub", needs="consumer app", provides="hub"),
        Made("app", provides="app"),
        Made("last", needs="hub"),
    ]

    with pytest.raises(StepCycle, match="circle: consumer -> hub -> pool -> consumer") as caught:
        Graph(steps)

    assert caught.value.path == ("consumer", "hub", "pool", "consumer")


def test_a_step_that_needs_what_it_provides_is_a_circle() -> None:
    with pytest.raises(StepCycle, match="circle: a -> a"):
        Graph([Made("a", needs="x", provides="x")])


class NeedsArguments(Step):
    name = "greedy"

    def __init__(self, size: int) -> None:
        self.size = size

    def start(self, boot: Boot) -> None: ...


class OneKey(Step):
    name = "one-key"
    needs = Key[str]("hub")  # type: ignore[assignment]

    def start(self, boot: Boot) -> None: ...


class TextKeys(Step):
    name = "text-keys"
    provides = ("hub",)  # type: ignore[assignment]

    def start(self, boot: Boot) -> None: ...


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (NeedsArguments, r"NeedsArguments cannot be made without arguments \(.*'size'\). Add an instance of it"),
        (Step, r"celeriac\.kernel\.steps\.Step cannot be made without arguments \(.*abstract"),
        (object(), r"<object .*> is not a boot step. Derive its class from celeriac\.kernel\.steps\.Step"),
        (dict, r"<class 'dict'> is not a boot step"),
        (Made(""), r"Made has no name. Set the class attribute `name`"),
        (OneKey, r"'one-key' \(.*OneKey\): `needs` must be a tuple of Key, .*; got Key\(name='hub'\)"),
        (TextKeys, r"'text-keys' \(.*TextKeys\): `provides` must be a tuple of Key, .*; got \('hub',\)"),
    ],
)
def test_what_is_no_proper_step_is_refused_with_the_fix(step: Any, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Graph([Hub, step])
