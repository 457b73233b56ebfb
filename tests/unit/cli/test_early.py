from __future__ import annotations

import os
import subprocess
import sys

import pytest

from celeriac.cli.early import patch, pool_name


def test_a_setting_given_as_an_argument_names_the_pool_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELERIAC_WORKER_POOL", raising=False)

    assert pool_name(["-A", "shop", "worker", "worker_pool=gevent"]) == "gevent"
    assert pool_name(["-A", "shop", "worker", "-P", "solo", "worker_pool=gevent"]) == "solo"


def test_a_pool_that_patches_nothing_is_let_be() -> None:
    patch(["worker", "-P", "threads"])


def test_a_patch_whose_library_is_missing_is_left_to_the_worker_to_complain_of(tmp_path) -> None:
    (tmp_path / "late-1.dist-info").mkdir()
    (tmp_path / "late-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1\n")
    (tmp_path / "late-1.dist-info" / "entry_points.txt").write_text("[celeriac.patches]\nlate = late:patch\n")
    (tmp_path / "late.py").write_text("def patch():\n    import no_such_library\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    run = subprocess.run(
        [sys.executable, "-m", "celeriac", "worker", "-P", "late"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert "Traceback" not in run.stderr
    assert run.stderr.startswith(("Error:", "Usage:"))
