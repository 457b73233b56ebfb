"""Redis as broker and result store, one solo worker, acknowledged on completion.

    nox -s bench -- redis [--quick] [--only PATTERN] [--json FILE]

Both peers share a server that keeps nothing on disk. Round trips are what the server counts as reads from its
connections, for each task of a drain. The last figures put a round trip of 2 ms between worker and server.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from rig import Bench, Figure, Measure, Setup, drain_cpu, drain_rate, publish_cpu, publish_rate, report, round_trip

WITH = Setup(broker="redis")
WITHOUT = Setup(broker="redis", results=False)


def server() -> object:
    """Return a client of the server that the benchmark started."""
    import redis  # noqa: PLC0415  the figures' own need, once the server runs

    return redis.Redis.from_url(os.environ["BENCH_REDIS"])


def round_trips(count: int, setup: Setup) -> Measure:
    """Reads of the server from its connections per task, while a worker drains a full queue."""

    def measure(peer: str) -> float:
        with Bench(peer, setup) as bench:
            bench.client("publish_many", count)
            before = server().info("stats")["total_reads_processed"]
            with bench.worker() as process:
                bench.wait_for(count, process)
                return (server().info("stats")["total_reads_processed"] - before) / count

    return measure


def awaited(count: int, what: str) -> Measure:
    """Milliseconds per result of so many that one process awaits; or the subscriptions that the server saw at most."""

    def measure(peer: str) -> float:
        with Bench(peer, WITH) as bench, bench.worker():
            answer = bench.client("await_many", count)
            if answer["samples"]["right"] != count:
                raise SystemExit(f"only {answer['samples']['right']} of {count} results")
            return answer["samples"]["connections"] if what == "connections" else answer["seconds"] / count * 1e3

    return measure


def far(count: int, setup: Setup, milliseconds: float) -> Measure:
    """Tasks a second with so much time between worker and server for each question and its answer."""

    def measure(peer: str) -> float:
        from proxy import Proxy  # noqa: PLC0415  of the tests, on the path only here

        near = os.environ["BENCH_REDIS"]
        host, _, port = near.removeprefix("redis://").partition(":")
        with Bench(peer, setup) as bench, Proxy((host, int(port)), latency=milliseconds / 2e3) as proxy:
            bench.client("publish_many", count)
            bench.environment["BENCH_REDIS"] = f"redis://127.0.0.1:{proxy.port}"
            with bench.worker() as process:
                done, first, last = bench.wait_for(count, process)
                return (done - 1) / (last - first)

    return measure


def figures(scale: int) -> Sequence[Figure]:
    return [
        Figure(name="delay(), tasks/s", measure=publish_rate("publish", 20_000 // scale, WITH)),
        Figure(name="delay(), CPU µs", measure=publish_cpu("publish", 20_000 // scale, WITH), more_is_better=False),
        Figure(name="publish in bulk, tasks/s", measure=publish_rate("publish_many", 100_000 // scale, WITH)),
        Figure(name="drain with results, tasks/s", measure=drain_rate(100_000 // scale, WITH)),
        Figure(name="drain without results, tasks/s", measure=drain_rate(100_000 // scale, WITHOUT)),
        Figure(name="CPU with results, µs", measure=drain_cpu(50_000 // scale, WITH), more_is_better=False),
        Figure(name="CPU without results, µs", measure=drain_cpu(50_000 // scale, WITHOUT), more_is_better=False),
        Figure(name="round trips a task, results", measure=round_trips(20_000 // scale, WITH), more_is_better=False),
        Figure(name="round trip p50, ms", measure=round_trip(0.5, 2000 // scale, WITH), more_is_better=False),
        Figure(name="round trip p99, ms", measure=round_trip(0.99, 2000 // scale, WITH), more_is_better=False),
        Figure(name="10,000 awaited, ms a result", measure=awaited(10_000, "time"), alone=True),
        Figure(name="10,000 awaited, connections", measure=awaited(10_000, "connections"), alone=True),
        Figure(name="2 ms away, with results, tasks/s", measure=far(50_000 // scale, WITH, 2.0), alone=True),
    ]


if __name__ == "__main__":
    report(__doc__, figures)
