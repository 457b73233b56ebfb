"""RabbitMQ as broker, results as messages to the caller, acknowledged on completion.

    nox -s bench -- amqp [--quick] [--only PATTERN] [--json FILE]

Both peers share a node of its own with default settings. Celery runs as it comes: without publisher confirms, and
acknowledged before the run. Where nothing else is said, queues are classic and messages persistent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from rig import Figure, Setup, drain_cpu, drain_rate, publish_cpu, publish_rate, report, round_trip, with_pool

from celeriac_amqp.testing import running_server

WITH = Setup(broker="amqp")
WITHOUT = replace(WITH, results=False)
TRANSIENT = {"persistent": False}
QUORUM = {"queue_type": "quorum"}


@contextmanager
def server() -> Iterator[str]:
    """Run a node that children find by its URL."""
    with running_server(erlang_flags="") as node:
        os.environ["BENCH_AMQP"] = node.url
        yield node.url
        del os.environ["BENCH_AMQP"]


def figures(scale: int) -> Sequence[Figure]:
    many, some = 50_000 // scale, 20_000 // scale
    prefork, gevent = with_pool(WITHOUT, "prefork", 2), with_pool(WITHOUT, "gevent", 100)
    return [
        Figure(name="delay(), tasks/s", measure=publish_rate("publish", 10_000 // scale, WITHOUT)),
        Figure(name="delay(), CPU µs", measure=publish_cpu("publish", some, WITHOUT), more_is_better=False),
        Figure(name="publish in bulk, tasks/s", measure=publish_rate("publish_many", many, WITHOUT)),
        Figure(
            name="publish in bulk, transient, tasks/s",
            measure=publish_rate("publish_many", many, replace(WITHOUT, **TRANSIENT)),
        ),
        Figure(
            name="publish in bulk, quorum, tasks/s",
            measure=publish_rate("publish_many", many, replace(WITHOUT, **QUORUM)),
        ),
        Figure(name="drain without results, tasks/s", measure=drain_rate(many, WITHOUT)),
        Figure(name="drain, transient, tasks/s", measure=drain_rate(many, replace(WITHOUT, **TRANSIENT))),
        Figure(name="drain, quorum, tasks/s", measure=drain_rate(many, replace(WITHOUT, **QUORUM))),
        Figure(name="drain with results, tasks/s", measure=drain_rate(some, WITH)),
        Figure(name="drain with results, quorum, tasks/s", measure=drain_rate(some, replace(WITH, **QUORUM))),
        Figure(name="CPU without results, µs", measure=drain_cpu(some, WITHOUT), more_is_better=False),
        Figure(name="CPU with results, µs", measure=drain_cpu(some, WITH), more_is_better=False),
        Figure(name="prefork -c 2, tasks/s", measure=drain_rate(some, prefork)),
        # Celery's worker stands still most of the time here: what it does in a minute is enough.
        Figure(name="gevent -c 100, tasks/s", measure=drain_rate(some, gevent), alone=True),
        Figure(name="round trip p50, ms", measure=round_trip(0.5, 2000 // scale, WITH), more_is_better=False),
        Figure(name="round trip p99, ms", measure=round_trip(0.99, 2000 // scale, WITH), more_is_better=False),
        Figure(
            name="round trip p50, quorum, ms",
            measure=round_trip(0.5, 2000 // scale, replace(WITH, **QUORUM)),
            more_is_better=False,
        ),
    ]


if __name__ == "__main__":
    report(__doc__, figures, server, "RabbitMQ")
