"""The interfaces of every kind of plugin: this folder is the index of Celeriac's extension points.

One module per kind. A plugin implements the underscored methods of one class here; the public ones, which the
kernel calls, are written once: they validate, time, count and turn a driver's errors into Celeriac's.
"""

from celeriac.kernel.plugins import SPI_VERSION

__all__ = ["SPI_VERSION"]
