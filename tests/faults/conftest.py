from __future__ import annotations

import importlib
import sys

import pytest
from fleet import APPS, Fleet

pytestmark = pytest.mark.fault


@pytest.fixture
def fleet(tmp_path):
    with Fleet(tmp_path) as fleet:
        yield fleet


@pytest.fixture
def client(fleet, monkeypatch):
    """The app of the fault tests, as a client of the fleet's broker."""
    for name in ("FAULTS_HOME", "FAULTS_BROKER", "FAULTS_LEASE"):
        monkeypatch.setenv(name, fleet.environment[name])
    monkeypatch.syspath_prepend(str(APPS))
    sys.modules.pop("faults_app", None)
    module = importlib.import_module("faults_app")
    yield module
    module.app.close()
    sys.modules.pop("faults_app", None)
