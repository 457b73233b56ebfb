from datetime import UTC, datetime, timedelta, timezone

import pytest

from celeriac.client.options import check_call_options, check_limits, moment_of

NOW = 1_700_000_000.0


def test_an_option_nobody_reads_is_refused_with_the_nearest_name():
    with pytest.raises(TypeError, match=r"no option 'countdwon'\. Did you mean 'countdown'"):
        check_call_options({"countdwon": 3})


def test_an_option_of_celery_without_a_counterpart_is_answered_with_what_to_do():
    with pytest.raises(TypeError, match=r"no option 'producer'\. The app opens"):
        check_call_options({"producer": object()})


def test_stamps_are_options_when_they_are_announced():
    check_call_options({"stamped_headers": ["customer"], "customer": 7})

    with pytest.raises(TypeError, match="customer"):
        check_call_options({"customer": 7})


def test_a_soft_limit_above_the_hard_one_is_refused():
    check_limits(10, 5, "task")
    check_limits(None, 5, "task")

    with pytest.raises(ValueError, match="soft_time_limit"):
        check_limits(5, 10, "task")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (10, datetime.fromtimestamp(NOW + 10, UTC)),
        (0.5, datetime.fromtimestamp(NOW + 0.5, UTC)),
        (datetime(2030, 1, 1), datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=2)))),
        (datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)),
        ("2030-01-01T00:00:00+00:00", datetime(2030, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_moment_is_seconds_from_now_a_datetime_or_text(value, expected):
    assert moment_of(value, now=NOW, zone=timezone(timedelta(hours=2)), option="eta") == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, "tomorrow", datetime.min, None])
def test_what_is_no_moment_is_refused_at_the_caller(value):
    with pytest.raises(ValueError, match="'eta'"):
        moment_of(value, now=NOW, zone=timezone(timedelta(hours=14)), option="eta")
