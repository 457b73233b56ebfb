"""The table of every setting of the core."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from celeriac.config.setting import Family, Setting
from celeriac.config.stores import BrokerSettings, GeneralSettings, ResultSettings
from celeriac.config.tasks import TaskSettings
from celeriac.config.workers import WorkerSettings

__all__ = ["TABLE", "Declared"]


class Declared(GeneralSettings, BrokerSettings, ResultSettings, TaskSettings, WorkerSettings):
    """Every setting of the core as an attribute: what gives `Settings` its types."""


TABLE: Mapping[str, Setting] = MappingProxyType(dict(Family.declared))
"""Every setting of the core by name, in the order of the documentation."""
