"""The contract of result stores, as one class of tests.

Its parts stand in modules of their own under `result_stores`. What they check is written in `celeriac.spi.results`.
"""

from __future__ import annotations

from celeriac.testing.contracts.result_stores.joining import Joining
from celeriac.testing.contracts.result_stores.replying import Replying
from celeriac.testing.contracts.result_stores.storing import Expiring, Replacing, Storing
from celeriac.testing.contracts.result_stores.waiting import Waiting

__all__ = ["ResultStoreContract"]


class ResultStoreContract(Storing, Replacing, Expiring, Waiting, Replying, Joining):
    """Subclass it with `harness` set to the plugin's harness module."""
