import sys
from types import ModuleType

import pytest

from celeriac.client.app import Celeriac
from celeriac.client.discovery import find_app
from celeriac.errors import ConfigurationError

APP = Celeriac("found", set_as_current=False)


@pytest.fixture
def modules(monkeypatch):
    """Give a function that makes modules with these attributes."""

    def make(**contents):
        for name, attributes in contents.items():
            module = ModuleType(name)
            vars(module).update(attributes)
            monkeypatch.setitem(sys.modules, name, module)

    return make


@pytest.mark.parametrize("name", ["app", "celeriac", "celery", "anything"])
def test_an_app_is_found_in_a_module(modules, name):
    modules(proj={name: APP, "other": 1})

    assert find_app("proj") is APP
    assert find_app(f"proj:{name}") is APP
    assert find_app(f"proj:{name}") is APP


def test_a_function_that_makes_the_app_can_be_named(modules):
    modules(proj={"create": lambda: APP})

    assert find_app("proj:create") is APP


def test_the_app_of_a_package_is_in_its_module_of_the_usual_name(tmp_path, monkeypatch):
    package = tmp_path / "packaged_proj"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "celery.py").write_text("from celeriac import Celeriac\napp = Celeriac('p', set_as_current=False)")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert find_app("packaged_proj").main == "p"
        assert find_app("packaged_proj.celery.app").main == "p"
    finally:
        for name in [name for name in sys.modules if name.startswith("packaged_proj")]:
            del sys.modules[name]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no_such_module", "no module 'no_such_module'"),
        ("proj", "has no Celeriac app"),
        ("proj:missing", "missing"),
        ("proj:number", "is no Celeriac app"),
        ("several", "has 2 apps"),
    ],
)
def test_what_cannot_be_found_is_said(modules, path, said):
    modules(proj={"number": 7}, several={"a": APP, "b": Celeriac("b", set_as_current=False)})

    with pytest.raises(ConfigurationError, match=said):
        find_app(path)


def test_an_error_inside_the_module_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "module_with_a_broken_import.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        find_app("module_with_a_broken_import")
