"""The client side of a macro benchmark: `python app_X.py COMMAND COUNT` prints one line of JSON.

`began` is of the machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any


def main(app: Mapping[str, Any]) -> None:
    command, count = sys.argv[1], int(sys.argv[2])
    began, cpu = time.monotonic(), time.process_time()
    answer = app[command](count)
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    print(json.dumps({"count": count, "began": began, "seconds": seconds, "cpu": cpu, "samples": answer}))
