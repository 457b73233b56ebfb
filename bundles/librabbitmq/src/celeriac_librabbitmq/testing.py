"""The harness by which the contract suite tests this distribution: the RabbitMQ that `celeriac_amqp` is tested on.

Where the module in C or the library is missing, what needs them is skipped with the reason. Where `CI` is set it fails,
unless `CELERIAC_TEST_LIBRABBITMQ=none` says that neither can be had there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest import SkipTest

from celeriac.testing.harness import StoreHarness
from celeriac_amqp.codec import Codec
from celeriac_amqp.testing import vhost

if TYPE_CHECKING:
    from celeriac_librabbitmq.transport import LibrabbitmqTransport

__all__ = ["native", "transport"]


def native() -> Codec:
    """Return the codec in C. Raises: SkipTest. ImportError: it has to be there and is not."""
    try:
        from celeriac_librabbitmq.codec import NATIVE  # noqa: PLC0415  it may be missing
    except ImportError as error:
        if os.environ.get("CI") and os.environ.get("CELERIAC_TEST_LIBRABBITMQ") != "none":
            raise
        raise SkipTest(str(error)) from error
    return NATIVE


@contextmanager
def transport() -> Iterator[StoreHarness[LibrabbitmqTransport]]:
    """Give a fresh virtual host to transports whose queues are classic and have all priorities."""
    native()
    from celeriac_librabbitmq.transport import LibrabbitmqTransport  # noqa: PLC0415  as above

    with vhost() as url:
        yield StoreHarness(
            LibrabbitmqTransport,
            "librabbitmq" + url.removeprefix("amqp"),
            virtual=False,
            options={"queue_max_priority": 9, "native_delayed_delivery_queue_type": "classic"},
        )
