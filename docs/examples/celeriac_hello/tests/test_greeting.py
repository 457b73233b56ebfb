"""The step alone: no worker, no broker."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from celeriac.kernel.steps import Boot
from celeriac.runtime.keys import APP, CONSUMER, WORKER
from celeriac_hello.greeting import Greeting


def test_it_greets_and_says_goodbye(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    values: dict[Any, Any] = {
        APP: SimpleNamespace(conf={"hello_greeting": "Good morning"}),
        CONSUMER: object(),
        WORKER: SimpleNamespace(hostname="celeriac@here"),
    }
    boot = Boot(Greeting(), values)

    boot.step.start(boot)
    boot.finish()
    boot.cleanups[-1]()

    assert caplog.messages == ["Good morning from celeriac@here", "Goodbye from celeriac@here"]
