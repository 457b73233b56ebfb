"""What the codec in C saves: each figure for `amqp://` and `librabbitmq://` in turn, and how many times better it is.

    nox -s bench -- librabbitmq [--runs N]

First the codecs alone, in microseconds of CPU per message as Celery's protocol has it; then whole programs on a node of
its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import uuid
from collections.abc import Callable
from functools import partial

from rig import Figure, Setup, drain_cpu, drain_rate, publish_cpu, publish_rate

from celeriac_amqp.codec import PYTHON, Codec
from celeriac_amqp.frames import DELIVER, Outgoing, Properties, method
from celeriac_amqp.testing import running_server
from celeriac_librabbitmq.codec import NATIVE

BATCH = 500
CHANNEL = 2047
SCHEMES = ("amqp", "librabbitmq")


def a_message(number: int) -> Outgoing:
    """Return a task as Celery and Celeriac send it, with what differs from task to task."""
    identity = str(uuid.uuid4())
    headers = {
        "lang": "py", "task": "proj.tasks.add", "id": identity, "shadow": None, "eta": None, "expires": None,
        "group": None, "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": identity,
        "parent_id": None, "argsrepr": f"({number}, 2)", "kwargsrepr": "{}", "origin": "gen1@host",
        "ignore_result": False, "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {},
    }  # fmt: skip
    properties = Properties(
        content_type="application/json", content_encoding="utf-8", delivery_mode=2, priority=0, correlation_id=identity
    )
    body = b'[[%d, 2], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]' % number
    return Outgoing(exchange="", routing_key="celery", properties=properties, headers=headers, body=body)


def codec_figures(codec: Codec) -> dict[str, Callable[[], object]]:
    """Return what to do with one batch, by name."""
    messages = [a_message(number) for number in range(BATCH)]
    composer = PYTHON.composer(CHANNEL, 131072)
    stream = b""
    for tag, message in enumerate(messages, 1):
        [composed] = composer.compose_all([message], True)
        arguments = b"\x0aceleriac.1" + tag.to_bytes(8, "big") + b"\0\0\x06celery"
        stream += method(CHANNEL, DELIVER, arguments) + composed[8 + int.from_bytes(composed[3:7], "big") :]
    parser, reader = codec.parser(), codec.reader()
    parser.ours.add(CHANNEL)
    events = parser.feed(stream)
    return {
        "write": partial(codec.composer(CHANNEL, 131072).compose_all, messages, True),
        "find frames": partial(parser.feed, stream),
        "read": partial(reader.read, "celery", events),
    }


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU in microseconds per message."""
    began, rounds = time.process_time(), 0
    while time.process_time() - began < 0.2:
        work()
        rounds += 1
    return (time.process_time() - began) / rounds / BATCH * 1e6


def line(name: str, values: tuple[list[float], list[float]], more_is_better: bool) -> None:
    first, second = map(statistics.median, values)
    better = second / first if more_is_better else first / second
    print(f"{name:40}{first:12.2f}{second:12.2f}{better:14.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="of which the median is taken")
    parser.add_argument("--scale", type=int, default=1, help="what to divide the work by")
    options = parser.parse_args()
    print(f"{'':40}{'amqp':>12}{'librabbitmq':>12}{'times better':>14}")
    micro = [codec_figures(codec) for codec in (PYTHON, NATIVE)]
    for name in micro[0]:
        values: tuple[list[float], list[float]] = ([], [])
        for _ in range(options.runs):
            for figures, seen in zip(micro, values, strict=True):
                seen.append(cpu(figures[name]))
        line(f"{name}, CPU µs", values, more_is_better=False)
    setup, some = Setup(broker="amqp", results=False), 20_000 // options.scale
    macro = [
        Figure(name="delay(), CPU µs", measure=publish_cpu("publish", some // 4, setup), more_is_better=False),
        Figure(name="publish in bulk, CPU µs", measure=publish_cpu("publish_many", some, setup), more_is_better=False),
        Figure(name="publish in bulk, tasks/s", measure=publish_rate("publish_many", some, setup)),
        Figure(name="drain, solo, CPU µs", measure=drain_cpu(some, setup), more_is_better=False),
        Figure(name="drain, solo, tasks/s", measure=drain_rate(some, setup)),
    ]
    with running_server() as node:
        for figure in macro:
            values = ([], [])
            for _ in range(options.runs):
                for scheme, seen in zip(SCHEMES, values, strict=True):
                    os.environ["BENCH_AMQP"] = scheme + node.url.removeprefix("amqp")
                    seen.append(figure.measure("celeriac"))
            line(figure.name, values, figure.more_is_better)


if __name__ == "__main__":
    main()
