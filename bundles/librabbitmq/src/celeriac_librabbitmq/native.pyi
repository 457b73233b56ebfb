# What the C in `native/` holds; it says there how the functions behave.

from collections.abc import Callable, Sequence
from typing import Any

from celeriac_amqp.frames import Incoming, Outgoing, Properties
from celeriac_amqp.parser import Event

def open_library(path: str, /) -> str: ...
def parse(
    data: bytes, at: int, ours: set[int], unfinished: dict[int, Any], most: int, events: list[Event], /
) -> tuple[int, int, int]: ...
def read(
    queue: str,
    events: list[Event],
    incoming: type[Incoming],
    properties: type[Properties],
    plain: Callable[[str, Event], Incoming],
    /,
) -> list[Incoming]: ...
def compose(
    messages: Sequence[Outgoing],
    mandatory: bool,
    channel: int,
    most: int,
    piece: int,
    plain: Callable[[Outgoing, bool], bytes],
    /,
) -> list[bytes]: ...
