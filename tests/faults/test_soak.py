"""A minute of mixed tasks lets no worker grow. `nox -s soak` does the same for half an hour."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from faults.soak import Sample, judge, slope

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

SOAK = Path(__file__).with_name("soak.py")


def test_no_worker_grows_within_a_minute():
    ran = subprocess.run([sys.executable, SOAK, "1"], capture_output=True, text=True, timeout=250, check=False)

    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_what_grows_is_seen():
    steady = [Sample(second / 60, 50_000, 100_000, 20) for second in range(1800)]
    leaks = [each._replace(own=each.own + 2_000 * each.minute) for each in steady]
    opens = [each._replace(descriptors=each.descriptors + 2 * each.minute) for each in steady]

    found = [[verdict.sound for verdict in judge(samples, 30.0)] for samples in (steady, leaks, opens)]

    assert found == [[True, True, True], [False, True, True], [True, True, False]]


def test_the_slope_is_that_of_the_nearest_line():
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2.0)
    assert slope([(0, 0), (1, 1), (2, 0)]) == pytest.approx(0.0)
    assert slope([(1, 5)]) == 0.0
