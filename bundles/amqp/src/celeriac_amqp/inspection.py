"""Counting and purging. RabbitMQ tells of a queue how many messages are ready; what others hold it keeps to itself."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Callable, Collection, Mapping
from time import monotonic
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from celeriac.errors import ConfigurationError
from celeriac.spi.transport import QueueDepth
from celeriac_amqp.asking import NOT_FOUND, Asking
from celeriac_amqp.failures import ChannelClosed
from celeriac_amqp.letters import LETTER_QUEUES
from celeriac_amqp.long_runs import PREFIX
from celeriac_amqp.topology import Topology

__all__ = ["Inspection"]

_LOOKS: Final = 5
"""How often to look at a queue of which messages come in meanwhile."""


class Inspection:
    """Counts over one connection. `here()` returns what this process holds, and what was pushed to it, of each queue.

    What was pushed to this process and not taken yet counts as waiting.
    """

    def __init__(
        self,
        asking: Asking,
        topology: Topology,
        here: Callable[[], tuple[Mapping[str, int], Mapping[str, int]]],
        *,
        management_url: str,
        virtual_host: str,
    ) -> None:
        self._asking = asking
        self._topology = topology
        self._here = here
        self._management_url = management_url
        self._virtual_host = virtual_host

    def depths(self, queues: Collection[str] | None, timeout: float) -> list[QueueDepth]:
        """Count the messages of each queue; of those that this process knows, and the management plugin, when None."""
        end = monotonic() + timeout
        if queues is None:
            queues = self._topology.names
            if self._management_url:
                queues = queues | self._listed(timeout)
        found: list[QueueDepth] = []
        for name in sorted(set(queues)):
            held, before = self._here()
            for _ in range(_LOOKS):
                waiting = self._waiting(name, end)
                held, pushed = self._here()
                if pushed.get(name) == before.get(name):
                    break
                before = pushed  # what was pushed in between may have been counted twice
            found.append(QueueDepth(queue=name, waiting=waiting + before.get(name, 0), held=held.get(name, 0)))
        return found

    def purge(self, queue: str, timeout: float) -> int:
        """Delete what is ready in a queue; return how many messages that was."""
        try:
            found = self._asking.run(lambda channel: channel.queue_purge(queue), timeout)
        except ChannelClosed as error:
            if error.code != NOT_FOUND:
                raise
            return 0
        return int(found or 0)

    def _waiting(self, queue: str, end: float) -> int:
        try:
            found = self._asking.run(lambda channel: channel.queue_declare(queue, passive=True), end - monotonic())
        except ChannelClosed as error:
            if error.code != NOT_FOUND:
                raise
            return 0
        return int(found.message_count)

    def _listed(self, timeout: float) -> set[str]:
        """Return the queues of the virtual host by the management plugin, but not the ladder, letters and long runs."""
        rows = _ask(self._management_url, f"queues/{quote(self._virtual_host, safe='')}?columns=name", timeout)
        names, hidden = {row["name"] for row in rows}, set(LETTER_QUEUES.values())
        return {name for name in names if not name.startswith(("celery_delayed_", PREFIX)) and name not in hidden}


def _ask(url: str, path: str, timeout: float) -> Any:
    """Return what the management plugin answers. Raises: ConfigurationError: it does not."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("`management_url` must look like http://user:password@host:15672.")
    host = parts.netloc.rpartition("@")[2]
    who = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
    request = urllib.request.Request(  # noqa: S310  one of the two schemes, as was checked
        f"{parts.scheme}://{host}{parts.path.rstrip('/')}/api/{path}",
        headers={"authorization": "Basic " + base64.b64encode(who.encode()).decode()},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310  as above
            return json.loads(answer.read())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"The management plugin at {parts.scheme}://{host} gave no list of queues: {error}."
            " Correct `management_url`, or remove it: then only the queues of this app are counted."
        ) from error
