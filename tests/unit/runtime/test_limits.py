import pytest

from celeriac.errors import ConfigurationError
from celeriac.runtime.limits import RateLimit, parse_rate
from celeriac.testing.clock import VirtualClock


@pytest.mark.parametrize(
    ("rate", "per_second"),
    [("10/s", 10.0), ("120/m", 2.0), ("3600/h", 1.0), (5, 5.0), ("2.5", 2.5), (None, None), (0, None), ("0/s", None)],
)
def test_rates_are_read_as_runs_a_second(rate, per_second):
    assert parse_rate(rate) == per_second


@pytest.mark.parametrize("rate", ["fast", "10/d", "-1/s", "10/s/s"])
def test_a_rate_of_another_form_is_refused_with_the_forms(rate):
    with pytest.raises(ConfigurationError, match="none of 10, '10/s'"):
        parse_rate(rate)


def test_one_run_is_let_through_per_interval():
    clock = VirtualClock()
    limit = RateLimit(10.0, clock)

    first = limit.delay()
    second = limit.delay()
    clock.advance(0.1)
    third = limit.delay()

    assert first == 0.0
    assert second > 0.0
    assert third == 0.0


def test_an_idle_spell_is_not_saved_up():
    clock = VirtualClock()
    limit = RateLimit(10.0, clock)
    limit.delay()

    clock.advance(60)
    delays = [limit.delay() for _ in range(3)]

    assert delays[0] == 0.0
    assert all(delay > 0 for delay in delays[1:])


def test_what_is_put_back_returns_one_interval_after_the_other():
    clock = VirtualClock()
    limit = RateLimit(10.0, clock)
    limit.delay()

    delays = [limit.delay() for _ in range(5)]

    assert delays == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_over_ten_seconds_the_rate_is_kept():
    clock = VirtualClock()
    limit = RateLimit(10.0, clock)

    started = 0
    waiting: list[float] = [clock.monotonic()] * 200
    for _ in range(1000):
        due = [moment for moment in waiting if moment <= clock.monotonic()]
        for moment in due:
            waiting.remove(moment)
            delay = limit.delay()
            if delay:
                waiting.append(clock.monotonic() + delay)
            else:
                started += 1
        clock.advance(0.01)

    assert started == pytest.approx(100, abs=2)
