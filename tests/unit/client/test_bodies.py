import pytest

from celeriac.errors import EncodeError

pytestmark = pytest.mark.plugins


@pytest.mark.parametrize("args", [(), (1, "ü"), ({"k": [None]},)])
@pytest.mark.parametrize("kwargs", [{}, {"a": 1}])
def test_a_body_put_together_of_parts_is_the_one_that_is_written_whole(app, args, kwargs):
    whole, _, _ = app.codecs.dumps(
        [args, kwargs, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}], "json"
    )

    assert app.publisher.build("any.task", args, kwargs).body == whole


def test_arguments_that_cannot_be_written_are_refused(app):
    with pytest.raises(EncodeError, match="cannot be written"):
        app.publisher.build("any.task", (object(),))
