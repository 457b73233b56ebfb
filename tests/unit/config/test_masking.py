from __future__ import annotations

import pytest

from celeriac.config.masking import mask


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("redis://:pw@host:1/0", "redis://:**@host:1/0"),
        ("amqp://me:p@w@host//", "amqp://me:**@host//"),
        ("sqs://x?region=a&aws_secret_key=abc&b=1", "sqs://x?region=a&aws_secret_key=**&b=1"),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ({"password": "x", "user": "me", "token": None}, {"password": "**", "user": "me", "token": None}),
        ({"nested": {"api_key": 1}, "keyspace": 2}, {"nested": {"api_key": "**"}, "keyspace": 2}),
        (("redis://a:b@c",), ("redis://a:**@c",)),
        (7, 7),
    ],
)
def test_what_sounds_secret_is_masked_and_nothing_else(value: object, shown: object) -> None:
    assert mask(value) == shown
