"""Building never fails: where nothing can be compiled, the module is left out, and the reason is said."""

from __future__ import annotations

import runpy
import shutil
import sys
import sysconfig
import types
from pathlib import Path
from typing import Any

import pytest
from tree import ROOT

BUNDLE = ROOT / "bundles" / "librabbitmq"


class Hook:
    """What hatchling gives a build hook, as far as ours uses it."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.said: list[str] = []
        self.app = types.SimpleNamespace(display_warning=self.said.append)


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run hatch_build.py, which needs hatchling's base class only where hatchling runs it."""
    interface = types.ModuleType("hatchling.builders.hooks.plugin.interface")
    vars(interface)["BuildHookInterface"] = Hook
    for name in ("hatchling", "hatchling.builders", "hatchling.builders.hooks", "hatchling.builders.hooks.plugin"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    return runpy.run_path(str(BUNDLE / "hatch_build.py"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the bundle with the source in C, but without anything compiled."""
    shutil.copytree(BUNDLE / "native", tmp_path / "native")
    (tmp_path / "src" / "celeriac_librabbitmq").mkdir(parents=True)
    return tmp_path


def built(build: dict[str, Any], root: Path, version: str) -> tuple[dict[str, Any], list[str]]:
    """Build as hatchling does; return what was changed of the wheel, and the warnings."""
    hook, data = build["CodecHook"](root), {"force_include": {}}
    hook.initialize(version, data)
    hook.finalize(version, data, "")
    return data, hook.said


@pytest.mark.parametrize("version", ["editable", "standard"])
def test_without_a_compiler_the_module_is_left_out(
    build: dict[str, Any], root: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: ".so" if name == "EXT_SUFFIX" else "no-such-compiler")

    data, said = built(build, root, version)

    assert data == {"force_include": {}}
    assert "no C compiler was found" in said[0]


def test_without_the_headers_of_python_the_module_is_left_out(
    build: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(root))

    data, said = built(build, root, "standard")

    assert data == {"force_include": {}}
    assert "python3-dev" in said[0]


def test_what_a_compiler_refuses_is_left_out_and_its_words_are_given(build: dict[str, Any], root: Path) -> None:
    (root / "native" / "module.c").write_text("#error this is not for you\n")

    data, said = built(build, root, "standard")

    assert data == {"force_include": {}}
    assert "not for you" in said[0]


def test_what_is_compiled_goes_into_the_wheel_or_beside_the_sources(build: dict[str, Any], root: Path) -> None:
    wheel, said = built(build, root, "standard")
    editable, _ = built(build, root, "editable")

    if said:
        pytest.skip(said[0])
    name = "native" + sysconfig.get_config_var("EXT_SUFFIX")
    assert list(wheel["force_include"].values()) == [f"celeriac_librabbitmq/{name}"]
    assert (wheel["pure_python"], wheel["infer_tag"]) == (False, True)
    assert editable == {"force_include": {}}
    assert [path.name for path in (root / "src" / "celeriac_librabbitmq").iterdir()] == [name]
