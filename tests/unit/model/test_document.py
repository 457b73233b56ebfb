import pytest

from celeriac.errors import DecodeError, RemoteError, TaskRevokedError
from celeriac.model.document import exception_data, exception_from_data, result_document, result_value, safe_repr
from celeriac.model.record import FAILURE, STARTED, SUCCESS


class Demanding(Exception):
    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


class Hostile(Exception):
    @property
    def args(self):
        raise RuntimeError("no")

    def __repr__(self):
        raise RuntimeError("no")


def test_a_document_has_the_fields_of_the_field_in_their_order():
    document = result_document(task_id="1", state=SUCCESS, result=4)

    assert list(document) == ["status", "result", "traceback", "children", "date_done", "task_id"]
    assert document["date_done"].endswith("+00:00")


def test_what_is_not_done_has_no_date():
    assert result_document(task_id="1", state=STARTED, result=None)["date_done"] is None


def test_group_parent_and_extensions_are_added_when_known():
    document = result_document(
        task_id="1", state=SUCCESS, result=4, group_id="g", parent_id="p", extended={"name": "proj.add"}
    )

    assert (document["group_id"], document["parent_id"], document["name"]) == ("g", "p", "proj.add")
    assert list(document)[-1] == "task_id"


def test_an_exception_survives_as_data():
    data = exception_data(KeyError("missing"))

    error = exception_from_data(data)

    assert data == {"exc_type": "KeyError", "exc_message": ["missing"], "exc_module": "builtins"}
    assert isinstance(error, KeyError)
    assert error.args == ("missing",)


def test_errors_that_the_field_knows_travel_under_its_names():
    data = exception_data(TaskRevokedError("expired"))

    assert data["exc_module"] == "celery.exceptions"
    assert isinstance(exception_from_data(data), TaskRevokedError)


@pytest.mark.parametrize(
    "data",
    [
        {"exc_type": "Lost", "exc_message": ["why"], "exc_module": "never.imported"},
        {"exc_type": "system", "exc_message": ["true"], "exc_module": "os"},
        {"exc_type": "SystemExit", "exc_message": [0], "exc_module": "builtins"},
        {"exc_type": "Demanding", "exc_message": ["one"], "exc_module": __name__},
        {"exc_type": "a.b.c", "exc_message": None, "exc_module": "builtins"},
    ],
)
def test_what_cannot_be_rebuilt_safely_is_a_remote_error(data):
    error = exception_from_data(data)

    assert isinstance(error, RemoteError)
    assert data["exc_type"] in str(error)


def test_a_hostile_exception_is_data_all_the_same():
    assert exception_data(Hostile())["exc_message"] == []
    assert "Hostile" in safe_repr(Hostile())


def test_a_long_repr_is_cut():
    assert len(safe_repr("x" * 5000)) == 1024


def test_a_failure_reads_back_as_its_exception():
    document = result_document(task_id="1", state=FAILURE, result=exception_data(ValueError("bad")))

    value = result_value(document)

    assert isinstance(value, ValueError)


def test_a_document_without_state_is_refused():
    with pytest.raises(DecodeError, match="no `status`"):
        result_value({"result": 1})
