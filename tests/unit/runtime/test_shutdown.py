import os
import signal
import threading

import pytest

from celeriac.runtime.shutdown import Level, Signals, StopRequest


def test_a_first_request_sets_its_level():
    request = StopRequest()

    request.ask(Level.WARM)

    assert request.level is Level.WARM


def test_every_further_request_goes_one_step_further_at_least():
    request = StopRequest()

    levels = []
    for _ in range(4):
        request.ask(Level.WARM)
        levels.append(request.level)

    assert levels == [Level.WARM, Level.SOFT, Level.COLD, Level.COLD]


def test_a_cold_request_is_cold_at_once():
    request = StopRequest()
    request.ask(Level.WARM)

    request.ask(Level.COLD)

    assert request.level is Level.COLD


def test_who_waits_is_woken_by_a_request():
    request = StopRequest()
    seen = []
    thread = threading.Thread(target=lambda: seen.append(request.wait_above(Level.RUN, 10)))
    thread.start()

    request.ask(Level.WARM)
    thread.join(10)

    assert seen == [True]


def test_waiting_ends_with_its_timeout():
    assert StopRequest().wait_above(Level.RUN, 0.01) is False


@pytest.mark.parametrize(
    ("environment", "soft", "number", "level"),
    [
        ({}, False, signal.SIGTERM, Level.WARM),
        ({}, False, signal.SIGINT, Level.WARM),
        ({}, False, signal.SIGQUIT, Level.COLD),
        ({}, True, signal.SIGQUIT, Level.SOFT),
        ({"REMAP_SIGTERM": "SIGQUIT"}, False, signal.SIGTERM, Level.COLD),
    ],
)
def test_signals_ask_for_what_the_field_expects_of_them(monkeypatch, environment, soft, number, level):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    asked = []
    seen = threading.Event()
    interrupted = []

    def ask(wanted, sent):
        asked.append((wanted, sent))
        seen.set()

    signals = Signals(ask, soft=soft, on_signal=lambda: interrupted.append(True))
    before = signal.getsignal(number)
    signals.install()
    signals.listen()
    try:
        os.kill(os.getpid(), number)
        assert seen.wait(10)
    finally:
        signals.restore()

    assert asked == [(level, number)]
    assert interrupted == [True]
    assert signal.getsignal(number) is before
