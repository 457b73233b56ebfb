import importlib
import subprocess
import sys

import pytest

import celeriac


@pytest.mark.parametrize("name", celeriac.__all__)
def test_every_public_name_is_found_in_its_one_home(name):
    home = importlib.import_module(celeriac._HOMES[name])

    assert getattr(celeriac, name) is getattr(home, name)
    assert name in home.__all__
    assert name in dir(celeriac)


def test_every_home_is_public():
    assert sorted(celeriac._HOMES) == sorted(celeriac.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Wrong"):
        celeriac.Wrong  # noqa: B018


def test_importing_the_package_or_the_app_loads_nothing_heavy():
    heavy = ["networkx", "pluggy", "click", "asyncio", "sqlite3", "importlib.metadata", "concurrent.futures"]
    program = (
        "import sys, celeriac; light = [m for m in sys.modules if m.startswith('celeriac.')];"
        f" from celeriac import Celeriac; Celeriac(); print(light, [m for m in {heavy!r} if m in sys.modules])"
    )

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[] []"
