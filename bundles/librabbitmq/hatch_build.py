"""Compile the codec in C where a compiler and Python's headers are; else leave it out and say so.

A wheel holds the compiled module and is tagged for its Python and platform. An editable install gets it beside the
sources. rabbitmq-c is not needed here: the module opens it when it runs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "src/celeriac_librabbitmq"
SOURCES = "native"


class NotBuilt(Exception):
    """There is nothing to compile with; says what is missing."""


class CodecHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the compiled module to the wheel, or, for an editable install, to the sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        name = "native" + str(sysconfig.get_config_var("EXT_SUFFIX"))
        self._folder = tempfile.mkdtemp(prefix="celeriac-librabbitmq-")
        built = Path(self._folder, name)
        try:
            compile_module(root / SOURCES, built)
        except NotBuilt as problem:
            self.app.display_warning(f"celeriac-librabbitmq is built without its module in C: {problem}")
            return
        if version == "editable":
            # In one step: another Python, or another run, may be importing it.
            target = root / PACKAGE / name
            beside = target.with_name(f"{name}.{os.getpid()}")
            shutil.copyfile(built, beside)
            beside.replace(target)
        else:
            build_data["force_include"][str(built)] = f"celeriac_librabbitmq/{name}"
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def compile_module(folder: Path, target: Path) -> None:
    """Compile the C in a folder to a module of this Python. Raises: NotBuilt."""
    if sys.platform == "win32":
        raise NotBuilt("on Windows only amqp:// is offered")
    include = sysconfig.get_path("include")
    if not Path(include, "Python.h").is_file():
        raise NotBuilt(f"the headers of Python are not in {include} (Debian: python3-dev, Fedora: python3-devel)")
    flags = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    sources = sorted(map(str, folder.glob("*.c")))
    rest = [*flags, "-fPIC", "-O2", "-fvisibility=hidden", f"-I{include}", *sources, "-o", str(target)]
    rest += [] if sys.platform == "darwin" else ["-ldl"]
    said = "no C compiler was found"
    for compiler in compilers():
        done = subprocess.run([*compiler, *rest], capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode == 0:
            return
        said = f"{compiler[0]} failed: {done.stderr.strip()[-500:]}"
    raise NotBuilt(said)


def compilers() -> list[list[str]]:
    """Return the commands that may compile C, the likeliest first."""
    named = [os.environ.get("CC", ""), str(sysconfig.get_config_var("CC") or ""), "cc", "gcc", "clang"]
    found: list[list[str]] = []
    for each in map(shlex.split, named):
        if each and each not in found and shutil.which(each[0]):
            found.append(each)
    return found
