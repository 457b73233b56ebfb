"""Python's pickle, for those who trust every producer."""

from __future__ import annotations

import pickle
from typing import Any, Final

from celeriac.errors import DecodeError, EncodeError
from celeriac.spi.serializer import Serializer

__all__ = ["PROTOCOL", "PickleSerializer"]

PROTOCOL: Final = 4
"""What Celery's workers write and every Python since 3.4 reads."""


class PickleSerializer(Serializer):
    """Pickle, protocol 4 written, any protocol read. Reading hostile bytes can run any code."""

    content_type = "application/x-python-serialize"
    content_encoding = "binary"
    trusted = False

    def dumps(self, value: Any) -> bytes:
        try:
            return pickle.dumps(value, protocol=PROTOCOL)
        except RecursionError as error:
            raise EncodeError("Pickle: the value is nested too deeply.") from error
        except Exception as error:  # __reduce__ and __getstate__ raise what they like
            raise EncodeError(f"Pickle: {type(error).__qualname__}: {error}") from error

    def loads(self, data: bytes) -> Any:
        # Unpickling calls what the bytes name, so that anything may be raised, SystemExit included. Only a request
        # to stop that comes from outside, by Ctrl-C, is not about these bytes.
        try:
            return pickle.loads(data)  # noqa: S301  off unless the user accepts it, and said so
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise DecodeError(f"Pickle: {type(error).__qualname__}: {error}") from error
