from __future__ import annotations

import pytest

from celeriac.config.names import HINTS, hint, successor
from celeriac.config.table import TABLE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("BROKER_URL", "broker_url"),
        ("CELERY_RESULT_BACKEND", "result_backend"),
        ("CELERYD_CONCURRENCY", "worker_concurrency"),
        ("CELERYD_TASK_TIME_LIMIT", "task_time_limit"),
        ("CELERYD_TASK_LOG_FORMAT", "worker_task_log_format"),
        ("CELERY_ACKS_LATE", "task_acks_late"),
        ("CELERY_TASK_RESULT_EXPIRES", "result_expires"),
        ("CELERY_EAGER_PROPAGATES_EXCEPTIONS", "task_eager_propagates"),
        ("CELERY_MESSAGE_COMPRESSION", "task_compression"),
        ("CELERY_QUEUES", "task_queues"),
        ("CELERY_DISABLE_RATE_LIMITS", "worker_disable_rate_limits"),
    ],
)
def test_an_old_name_is_answered_with_the_new_one(old: str, new: str) -> None:
    assert hint(old, TABLE) == f"Its name is {new!r} now."


@pytest.mark.parametrize(
    ("old", "word"),
    [
        ("CELERYBEAT_SCHEDULE", "periodic scheduler"),
        ("CELERY_SEND_EVENTS", "events are a plugin"),
        ("CELERYD_STATE_DB", "coordinator"),
        ("CELERY_RESULT_DBURI", "`result_backend`"),
    ],
)
def test_an_old_name_without_counterpart_says_what_to_do(old: str, word: str) -> None:
    assert word in hint(old, TABLE)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("beat_schedule", "periodic scheduler"),
        ("result_chord_join_timeout", "joins are counted"),
        ("worker_disable_prefetch", "worker_prefetch_multiplier"),
        ("redis_max_connections", "result_backend"),
    ],
)
def test_a_new_name_without_counterpart_says_what_to_do(name: str, word: str) -> None:
    assert word in hint(name, TABLE)


@pytest.mark.parametrize("key", ["DEBUG", "SECRET_KEY", "SOMETHING_ELSE", "task_serialiser", "CELERY_LOADER", ""])
def test_a_name_that_never_was_a_setting_has_no_successor(key: str) -> None:
    assert successor(key, TABLE) is None


def test_no_hint_hides_a_setting_that_exists() -> None:
    hidden = {
        name for name in TABLE for start in HINTS if start == name or (start[-1] == "_" and name.startswith(start))
    }

    assert hidden == set()


def test_every_hint_that_names_a_setting_names_one_that_exists() -> None:
    words = {word.strip("`.,;:") for text in HINTS.values() for word in text.split() if word.startswith("`")}
    names = {word for word in words if "_" in word}

    assert names <= set(TABLE)
