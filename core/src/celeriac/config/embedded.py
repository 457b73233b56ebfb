"""What is used where nothing is set: the embedded broker and its result store."""

from __future__ import annotations

from celeriac.config.settings import Settings

__all__ = ["DISABLED", "EMBEDDED_URL", "broker_url", "result_url"]

EMBEDDED_URL = "sqlite:///.celeriac/celeriac.db"
"""A database in the working directory: durable, shared by the processes of one machine, nothing to install."""

DISABLED = "disabled"
"""The value of `result_backend` that keeps no results."""

_OWN_RESULTS = frozenset({"sqlite", "memory"})
"""Brokers that are the result store too unless told otherwise."""


def broker_url(conf: Settings) -> str:
    """Return the broker's URL."""
    return conf.broker_url or EMBEDDED_URL


def result_url(conf: Settings) -> str | None:
    """Return the result store's URL, None where results are not kept."""
    if conf.result_backend is not None:
        off = conf.result_backend.partition("://")[0] == DISABLED
        return None if off else conf.result_backend
    broker = broker_url(conf)
    return broker if broker.partition("://")[0] in _OWN_RESULTS else None
