import pytest

from celeriac.client.arguments import ArgumentCheck, bounded_repr


def plain(x, y=1): ...
def starred(x, *rest, key, **more): ...
def only_keywords(*, a, b=2): ...
def positional_only(x, /): ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (plain, (1,), {}),
        (plain, (1, 2), {}),
        (plain, (1,), {"y": 2}),
        (plain, (), {"x": 1}),
        (starred, (1, 2, 3), {"key": 4, "other": 5}),
        (only_keywords, (), {"a": 1}),
        (positional_only, (1,), {}),
    ],
)
def test_arguments_that_fit_pass(function, args, kwargs):
    ArgumentCheck(function)("task", args, kwargs)


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (plain, (), {}),
        (plain, (1, 2, 3), {}),
        (plain, (1,), {"x": 2}),
        (plain, (1,), {"z": 2}),
        (starred, (1, 2), {}),
        (only_keywords, (1,), {}),
        (positional_only, (), {"x": 1}),
    ],
)
def test_arguments_that_do_not_fit_are_a_type_error_that_names_task_and_signature(function, args, kwargs):
    with pytest.raises(TypeError, match=r"^task\("):
        ArgumentCheck(function)("task", args, kwargs)


def test_a_bound_method_is_checked_without_self():
    class Thing:
        def run(self, x): ...

    check = ArgumentCheck(Thing().run)

    check("task", (1,), {})
    with pytest.raises(TypeError):
        check("task", (1, 2), {})


@pytest.mark.parametrize("value", [(), (1,), (1, 2.5, "a", None, True), {}, {"a": 1}, {"a": [1, {"b": (2,)}]}, ([],)])
def test_small_arguments_are_written_as_repr_writes_them(value):
    assert bounded_repr(value) == repr(value)


@pytest.mark.parametrize(
    "value",
    [tuple(range(10_000)), ("x" * 10_000,), {"key": list(range(10_000))}, tuple("x" * 100 for _ in range(100))],
)
def test_large_arguments_are_cut_to_the_limit(value):
    text = bounded_repr(value)

    assert len(text) == 1024
    assert text.endswith("...")
    assert repr(value).startswith(text[:-3])


def test_only_the_beginning_of_large_arguments_is_read():
    seen = []

    class Item:
        def __init__(self, number):
            self.number = number

        def __repr__(self):
            seen.append(self.number)
            return "x" * 100

    bounded_repr(tuple(Item(number) for number in range(1000)))

    assert len(seen) < 20


def test_deep_nesting_is_abbreviated():
    value = []
    for _ in range(100):
        value = [value, 1]

    assert "[...]" in bounded_repr((value,))


def test_a_cycle_ends():
    value = []
    value.append(value)

    assert bounded_repr((value,)) == "([[[[[[...]]]]]],)"


def test_a_repr_that_raises_is_told_and_not_raised():
    class Broken:
        def __repr__(self):
            raise RuntimeError("no")

    assert bounded_repr((Broken(),)) == "(<Broken: __repr__ raised RuntimeError>,)"


def test_a_number_of_a_million_digits_costs_nothing():
    assert bounded_repr(([10**5000],)).startswith("([<int of ")
