"""The client side of a macro benchmark: `python app_X.py COMMAND COUNT` prints one line of JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any


def main(app: Mapping[str, Any]) -> None:
    command, count = sys.argv[1], int(sys.argv[2])
    began, cpu = time.perf_counter(), time.process_time()
    answer = app[command](count)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({"count": count, "seconds": seconds, "cpu": cpu, "samples": answer}))
