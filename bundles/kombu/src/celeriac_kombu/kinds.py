"""What is known of each transport of kombu that it does not say of itself.

`keeps` tells what a transport does with a message that was taken: it keeps it until the acknowledgement, by connection
or for a time, or it deletes it at once. Of the latter a killed worker loses what it held.

Source: kombu 5.7, `_get` and `basic_ack` of the modules in `kombu/transport`; extras of its metadata.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from msgspec import Struct

__all__ = ["Kind", "kind_of"]

AT_ONCE: Final = "at most once when a worker is killed, else at least once"
FOR_A_TIME: Final = "at least once; again after the visibility timeout, also if the worker lives"
BY_CONNECTION: Final = "at least once"


class Kind(Struct, frozen=True, kw_only=True):
    """One transport of kombu.

    `needs` is the extra of kombu that installs its driver.
    """

    name: str
    needs: str = ""
    keeps: bool = False
    guarantee: str = AT_ONCE
    durable: bool = True
    reach: Literal["process", "machine", "network"] = "network"
    priorities: int = 0
    file_names: bool = False
    """Names of queues and exchanges become names of files."""

    def queue_name(self, name: str) -> str:
        """Return how a queue is called there."""
        return name.replace("%", "%25").replace("/", "%2F") if self.file_names and "/" in name else name

    def exchange_name(self, name: str) -> str:
        """Return how an exchange is called there."""
        return _UNFIT.sub(lambda found: f"_{ord(found[0]):x}_", name) if self.file_names else name


_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]")


def _keeping(name: str, guarantee: str, needs: str = "") -> Kind:
    return Kind(name=name, needs=needs, keeps=True, guarantee=guarantee)


_KINDS: Final = (
    Kind(name="memory", durable=False, reach="process", guarantee="at least once while the process lives"),
    Kind(name="filesystem", reach="machine", keeps=True, guarantee=BY_CONNECTION, file_names=True),
    Kind(name="sqlalchemy", needs="sqlalchemy"),
    Kind(name="mongodb", needs="mongodb", priorities=10),
    Kind(name="etcd", needs="etcd"),
    Kind(name="consul", needs="consul"),
    Kind(name="zookeeper", needs="zookeeper"),
    Kind(name="pyro", needs="pyro", durable=False),
    Kind(name="azurestoragequeues", needs="azurestoragequeues"),
    _keeping("slmq", FOR_A_TIME, "slmq"),
    _keeping("sqs", FOR_A_TIME, "sqs"),
    _keeping("redis", FOR_A_TIME, "redis"),
    _keeping("pgmq", FOR_A_TIME, "pgmq"),
    _keeping("gcpubsub", FOR_A_TIME, "gcpubsub"),
    _keeping("azureservicebus", FOR_A_TIME, "azureservicebus"),
    _keeping("confluentkafka", "at least once; after a kill also what came later in the partition", "confluentkafka"),
    _keeping("amqp", BY_CONNECTION),
    _keeping("librabbitmq", BY_CONNECTION, "librabbitmq"),
    _keeping("qpid", BY_CONNECTION, "qpid"),
)

_BY_NAME: Final = {kind.name: kind for kind in _KINDS}
_ALIASES: Final = {
    "sqla": "sqlalchemy",
    "kafka": "confluentkafka",
    "rediss": "redis",
    "sentinel": "redis",
    "amqps": "amqp",
    "pyamqp": "amqp",
}


def kind_of(scheme: str) -> Kind:
    """Return what is known of kombu's transport with this scheme; the least of one that nobody knows."""
    name = scheme.lower()
    known = _BY_NAME.get(_ALIASES.get(name, name))
    return known or Kind(name=name, guarantee="not known: ask who wrote this transport of kombu")
