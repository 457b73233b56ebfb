import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.errors import ConfigurationError
from celeriac.model.routing import Exchange, Queue, binding_matches, by_name, topic_matches

WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=5)
PARTS = st.lists(st.sampled_from(["a", "b", "*", "#"]), min_size=1, max_size=5)


def matches_by_definition(pattern, words):
    """The meaning of a topic pattern, written as its definition and without regard to cost."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(matches_by_definition(pattern[1:], words[taken:]) for taken in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and matches_by_definition(pattern[1:], words[1:])


@given(PARTS, WORDS)
def test_topic_patterns_mean_what_amqp_says(pattern, words):
    assert topic_matches(".".join(pattern), ".".join(words)) == matches_by_definition(pattern, words)


def test_many_wildcards_are_matched_in_bounded_time():
    assert not topic_matches(".".join(["#"] * 50 + ["z"]), ".".join(["a"] * 500))


@pytest.mark.parametrize(
    ("type_", "pattern", "key", "taken"),
    [
        ("direct", "a", "a", True),
        ("direct", "a", "b", False),
        ("fanout", "", "anything", True),
        ("topic", "a.*", "a.b", True),
        ("topic", "a.*", "a", False),
    ],
)
def test_a_binding_takes_what_its_exchange_type_says(type_, pattern, key, taken):
    assert binding_matches(type_, pattern, key) is taken


def test_a_queue_is_reached_by_its_name_unless_it_says_otherwise():
    assert Queue("mail").key == "mail"
    assert Queue("mail", Exchange("events", "topic"), "user.#").key == "user.#"


def test_an_exchange_of_an_unknown_type_is_refused():
    with pytest.raises(ConfigurationError, match="headers"):
        Exchange("x", "headers")


def test_two_different_queues_of_one_name_are_refused():
    with pytest.raises(ConfigurationError, match="defined twice"):
        by_name([Queue("a"), Queue("a", durable=False)])
