"""Pools that need a patched process keep the contract of pools in one: the suite again, in a process for each."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from celeriac.kernel import plugins

PATCHED = sorted({entry.name for entry in entry_points(group="celeriac.patches")} & set(plugins.names("pool")))

RUN = """
import sys
from importlib.metadata import entry_points
pool, suite, *more = sys.argv[1:]
(entry,) = entry_points(group="celeriac.patches", name=pool)
entry.load()()
import pytest
sys.exit(pytest.main([suite, "-k", pool, "-p", "no:cacheprovider", "-p", "no:benchmark", "-q", *more]))
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("pool", PATCHED)
def test_a_pool_keeps_its_contract_in_a_process_that_is_patched_for_it(pool: str) -> None:
    suite = Path(__file__).with_name("test_pools.py")

    run = subprocess.run(
        [sys.executable, "-c", RUN, pool, str(suite)],
        cwd=suite.parents[2],
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )

    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    assert " passed" in run.stdout
