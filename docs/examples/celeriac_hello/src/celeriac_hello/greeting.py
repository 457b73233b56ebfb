"""The step."""

import logging

from celeriac.kernel.steps import Boot, Step
from celeriac.runtime.keys import APP, CONSUMER, WORKER

logger = logging.getLogger(__name__)


class Greeting(Step):
    """Greet once the worker takes tasks, and say goodbye first thing when it stops."""

    name = "hello.greeting"
    needs = (APP, CONSUMER, WORKER)

    def start(self, boot: Boot) -> None:
        hostname = boot.get(WORKER).hostname
        logger.info("%s from %s", boot.get(APP).conf["hello_greeting"], hostname, extra={"event": "hello"})
        boot.defer(lambda: logger.info("Goodbye from %s", hostname, extra={"event": "goodbye"}))
