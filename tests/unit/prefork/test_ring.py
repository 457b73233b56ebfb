from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac_prefork.memory import SharedFile
from celeriac_prefork.ring import Broken, Ring
from celeriac_prefork.slots import Slot

ROOM = 256


def ring() -> tuple[Ring, memoryview, bytearray]:
    words, room = memoryview(bytearray(16)).cast("Q"), bytearray(ROOM)
    return Ring(words, memoryview(room), head=0, tail=1), words, room


def taken(ring: Ring) -> list[tuple[int, int, bytes]]:
    return [(kind, number, bytes(payload)) for kind, number, payload in ring.take()]


@given(st.lists(st.one_of(st.binary(max_size=110), st.none()), max_size=60))
def test_frames_come_out_as_they_went_in_wherever_the_end_of_the_memory_is(steps: list[bytes | None]) -> None:
    """None stands for reading all; what does not fit waits until then."""
    made, _, _ = ring()
    waiting: list[tuple[int, int, bytes]] = []

    for number, step in enumerate(steps):
        if step is not None and made.append(number % 7, number, step):
            waiting.append((number % 7, number, step))
        elif step is not None:
            assert waiting, "an empty ring takes any frame of this size"
            assert taken(made) == waiting
            assert made.append(1, number, step)
            waiting = [(1, number, step)]
        else:
            assert made.numbers() == [number for _, number, _ in waiting]
            assert taken(made) == waiting
            waiting = []

    assert taken(made) == waiting
    assert made.is_empty()


def test_a_frame_that_was_not_published_is_not_there() -> None:
    made, words, _ = ring()
    made.append(1, 1, b"whole")
    head = words[0]
    made.append(1, 2, b"half")
    words[0] = head

    assert taken(made) == [(1, 1, b"whole")]


def test_a_reader_that_stops_halfway_finds_the_frame_again() -> None:
    made, _, _ = ring()
    made.append(1, 1, b"a")
    made.append(1, 2, b"b")

    reading = made.take()
    next(reading)
    reading.close()

    assert made.numbers() == [1, 2]


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_whatever_is_written_over_a_ring_it_is_read_to_an_end_or_called_broken(
    scribble: bytes, head: int, tail: int
) -> None:
    made, words, room = ring()
    made.append(1, 1, b"x" * 40)
    room[:16] = scribble
    words[0], words[1] = head, tail

    try:
        frames = taken(made)
    except Broken:
        return

    assert sum(len(payload) for _, _, payload in frames) <= ROOM


def test_a_ring_that_was_reset_works_again() -> None:
    made, words, _ = ring()
    words[0] = 5
    with pytest.raises(Broken):
        taken(made)

    made.reset()
    made.append(1, 1, b"again")

    assert taken(made) == [(1, 1, b"again")]


def test_two_mappings_of_a_slot_are_one_memory() -> None:
    file = SharedFile()
    Slot.reserve(file, 3)
    parent, child, other = Slot(file, 2), Slot(file, 2), Slot(file, 1)

    child.ring.append(2, 7, b"outcome")
    child.area[:8] = (9).to_bytes(8, "little")

    assert taken(parent.ring) == [(2, 7, b"outcome")]
    assert (parent.claimed, other.claimed) == (9, 0)
    for slot in (parent, child, other):
        slot.close()
    file.close()
