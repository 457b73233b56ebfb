import os
import socket
import uuid

from celeriac.client.identity import new_id, new_ids, origin, process_id


def test_an_id_is_a_random_uuid_of_version_4():
    parsed = [uuid.UUID(new_id()) for _ in range(200)]

    assert {each.version for each in parsed} == {4}
    assert {each.variant for each in parsed} == {uuid.RFC_4122}
    assert len(set(parsed)) == 200


def test_an_id_is_written_as_a_uuid_is():
    text = new_id()

    assert str(uuid.UUID(text)) == text


def test_origin_names_process_and_machine():
    assert origin() == f"gen{os.getpid()}@{socket.gethostname()}"


def test_a_forked_child_is_another_origin_with_another_id():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, f"{origin()} {process_id()} {os.getpid()}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        os.close(writer)
        name, identity, pid = pipe.read().decode().split()

    assert name == f"gen{pid}@{socket.gethostname()}"
    assert identity != process_id()


def test_ids_made_at_once_are_as_good_as_single_ones():
    ids = new_ids(200)

    assert len(set(ids)) == 200
    assert {uuid.UUID(each).version for each in ids} == {4}
    assert [str(uuid.UUID(each)) for each in ids] == ids
    assert new_ids(0) == []
