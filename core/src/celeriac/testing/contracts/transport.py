"""The contract of transports, as one class of tests.

Each part stands in a module of its own under `transports`. What the parts check is written in `celeriac.spi.transport`.
"""

from __future__ import annotations

from celeriac.testing.contracts.transports.accounting import Accounting
from celeriac.testing.contracts.transports.committing import Committing
from celeriac.testing.contracts.transports.following import Following
from celeriac.testing.contracts.transports.inspecting import Inspecting, KeepingLetters
from celeriac.testing.contracts.transports.leasing import Leasing
from celeriac.testing.contracts.transports.publishing import Publishing, Receiving
from celeriac.testing.contracts.transports.revoking import Revoking
from celeriac.testing.contracts.transports.routing import Routing
from celeriac.testing.contracts.transports.settling import Delaying, Prioritising, Settling
from celeriac.testing.contracts.transports.sharing import Sharing

__all__ = ["TransportContract"]


class TransportContract(
    Publishing,
    Receiving,
    Settling,
    Delaying,
    Prioritising,
    Leasing,
    Routing,
    Committing,
    Following,
    Revoking,
    Inspecting,
    KeepingLetters,
    Sharing,
    Accounting,
):
    """Subclass it with `harness` set to the plugin's harness module."""
