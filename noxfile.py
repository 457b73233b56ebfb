"""Every everyday command of this repository; `nox --list` shows them, `nox` alone runs what must pass before a commit.

Sessions find distributions by their folders, so adding a plugin or a bundle edits no list here. Each session makes its
own virtual environment, with uv where it is installed and with pip where it is not, and installs what it needs from the
dependency groups of pyproject.toml.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True
nox.options.sessions = ["lint", "types", "unit", "contract", "arch"]

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
REPORTS = ROOT / ".nox" / "reports"
SUPPORTED = [
    item.rsplit(" ", 1)[1]
    for item in PYPROJECT["project"]["classifiers"]
    if item.startswith("Programming Language :: Python :: 3.")
]
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"

CORE = ROOT / "core"
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
BUNDLES = sorted(path.parent for path in ROOT.glob("bundles/[!_]*/pyproject.toml"))
DISTRIBUTIONS = [ROOT, CORE, *PLUGINS, *BUNDLES]
SOURCES = [str(path.relative_to(ROOT)) for path in ROOT.glob("*/src")]
SOURCES += sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("[pb]*/[!_]*/src"))


def prepare(session: nox.Session, *groups: str, folders: list[Path] | None = None) -> None:
    """Install distributions, editable, and dependency groups into the session's environment."""
    chosen = DISTRIBUTIONS if folders is None else folders
    editable = [part for folder in chosen for part in ("-e", str(folder))]
    # Two sessions at once must not share what one of them compiled for its own Python.
    compiled = [f"celeriac-{folder.name}" for folder in chosen if (folder / "hatch_build.py").exists()]
    anew = [part for name in compiled for part in ("--refresh-package", name)] if session.venv_backend == "uv" else []
    session.install(*anew, *editable, *nox.project.dependency_groups(PYPROJECT, *groups))


def pytest(session: nox.Session, *args: str, name: str = "", env: dict[str, str] | None = None) -> None:
    """Run pytest and leave its counts where `.ci/run` adds them up."""
    session.run("python", "-m", "pytest", *pytest_options(name or session.name), *args, env=env)


def pytest_options(name: str) -> list[str]:
    """Return what every run of pytest is told: where its report goes, and what holds on a machine for tests alone.

    Where nobody can look, a failed test is run once more: the report names each that then passed as a rerun.
    """
    again = ["--reruns=1", "--timeout=90"] if os.environ.get("CI") else []
    return [f"--junitxml={REPORTS / f'{name}.xml'}", "--durations=10", *again]


def folders_of_tests(*names: str) -> list[str]:
    return [f"tests/{name}" for name in names if any((ROOT / "tests" / name).rglob("*.py"))]


def narrowed(session: nox.Session) -> tuple[list[Path] | None, list[str]]:
    """Turn `-- redis` into the distributions to install and pytest's arguments; other arguments go to pytest."""
    names = {path.name: path for path in (*PLUGINS, *BUNDLES)}
    if not session.posargs or session.posargs[0] not in names:
        return None, list(session.posargs)
    name, *rest = session.posargs
    folders = dict.fromkeys([ROOT, CORE, *PLUGINS, names[name]])
    return list(folders), ["-k", name, *rest]


# -- before a commit -------------------------------------------------------------------------------


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format, spelling and the names of change log fragments."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)


@nox.session
def types(session: nox.Session) -> None:
    """Run mypy in strict mode and pyright on what the packages export, and both on the files of tests/typing."""
    prepare(session, "test", "types")
    session.run("mypy", *SOURCES, "bundles/_template/src")
    pytest(session, *folders_of_tests("typing"))
    for source in SOURCES:
        (package,) = [path.parent.name for path in (ROOT / source).glob("*/__init__.py")]
        verify_types(session, package)


def verify_types(session: nox.Session, package: str) -> None:
    """Fail if pyright cannot tell the type of something that a package exports, or has to infer it."""
    command = ["pyright", "--outputjson", "--ignoreexternal", "--verifytypes", package]
    answer = session.run(*command, silent=True, log=False, success_codes=[0, 1])
    exported = [each for each in json.loads(str(answer))["typeCompleteness"]["symbols"] if each["isExported"]]
    unsaid = [each["name"] for each in exported if not each["isTypeKnown"] or each["isTypeAmbiguous"]]
    if unsaid or not exported:
        session.error(f"{package}: annotate {', '.join(unsaid) or 'all of it'}")
    session.log(f"{package}: the types of all {len(exported)} exported names are said.")


@nox.session
def unit(session: nox.Session) -> None:
    """Test each module by itself: no network, no other process."""
    prepare(session, "test")
    pytest(session, *folders_of_tests("unit"), *session.posargs)


@nox.session
def contract(session: nox.Session) -> None:
    """Run the contract of its kind on every installed plugin; `-- NAME` chooses one folder of plugins/ or bundles/."""
    folders, args = narrowed(session)
    prepare(session, "test", folders=folders)
    # That the suites catch broken plugins takes longer: `tests` shows it.
    pytest(session, *folders_of_tests("contract"), "--ignore-glob=tests/contract/test_*_suite_*", *args)


@nox.session
def arch(session: nox.Session) -> None:
    """Check layers, imports, sizes, extras and that everything public is documented."""
    prepare(session, "test")
    pytest(session, *folders_of_tests("architecture"), *session.posargs)


# -- everything ------------------------------------------------------------------------------------


@nox.session
def tests(session: nox.Session) -> None:
    """Run every test but faults and benchmarks here, and unit and contract tests on each other installed CPython.

    Tests mostly wait, for servers and for processes: they run in several processes beside each other.
    """
    shutil.rmtree(REPORTS, ignore_errors=True)
    prepare(session, "test", "types", "interop")
    python = [str(Path(session.bin) / "python"), "-m", "pytest"]
    parts = {
        name: [*python, *pytest_options(name), *folders_of_tests(*folders), *session.posargs]
        for name, folders in PARTS.items()
    }
    for version in SUPPORTED:
        if version in OTHERS:
            parts[f"fast-{version}"] = [sys.executable, "-m", "nox", "-s", f"fast-{version}", "--", *session.posargs]
        elif version != RUNNING:
            session.log(f"CPython {version} is not installed here: skipped.")
    path = os.pathsep.join([session.bin, os.environ.get("PATH", "")])
    logs = REPORTS / "logs"
    logs.mkdir(parents=True)
    session.log(f"Side by side: {', '.join(parts)}. What each says meanwhile is in {logs}.")
    environment = {**os.environ, **session.env, "PATH": path}
    failed = runpy.run_path(str(ROOT / ".ci/beside.py"))["run"](parts, logs, cwd=ROOT, env=environment)
    if failed:
        session.error(f"Failed: {', '.join(failed)}.")


PARTS = {
    "modules": ["unit", "architecture", "typing"],
    "contracts": ["contract"],
    "programs": ["integration", "interop"],
}


def other_python(version: str, path: str) -> None:
    @nox.session(name=f"fast-{version}", python=path)
    def fast(session: nox.Session) -> None:
        prepare(session, "test")
        # That suites catch broken plugins, and what other kinds of servers do, is the same on every version.
        elsewhere = [f"--ignore-glob=tests/contract/test_{each}" for each in ("*_suite_*", "*_everywhere.py")]
        pytest(session, *folders_of_tests("unit", "contract"), *elsewhere, *session.posargs, name=f"fast-{version}")

    fast.__doc__ = f"Run unit and contract tests on CPython {version}."


INTERPRETERS = runpy.run_path(str(ROOT / ".ci/interpreters.py"))["find"](SUPPORTED)
OTHERS = {version: path for version, path in INTERPRETERS.items() if version != RUNNING}
for _version, _path in OTHERS.items():
    other_python(_version, _path)


@nox.session
def integration(session: nox.Session) -> None:
    """Test whole programs and real servers; `-- NAME` chooses one folder of plugins/ or bundles/."""
    folders, args = narrowed(session)
    prepare(session, "test", folders=folders)
    pytest(session, *folders_of_tests("integration"), *args)


@nox.session
def interop(session: nox.Session) -> None:
    """Test against recorded wire fixtures and the other implementation."""
    prepare(session, "test", "interop")
    pytest(session, *folders_of_tests("interop"), *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Kill, stop and starve processes; nothing may be lost. Takes minutes."""
    prepare(session, "test")
    pytest(session, *folders_of_tests("faults"), "--timeout=600", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run workers on mixed tasks for half an hour and see whether they grow; `-- MINUTES POOL …` says otherwise."""
    prepare(session, "test")
    session.run("python", "tests/faults/soak.py", *(session.posargs or ["30"]))


@nox.session
def core_alone(session: nox.Session) -> None:
    """Run core's unit tests with no plugin installed."""
    prepare(session, "test", folders=[CORE])
    ignored = [f"--ignore=tests/unit/{folder.name}" for folder in (*PLUGINS, *BUNDLES)]
    pytest(session, *folders_of_tests("unit"), "-m", "not plugins", *ignored, *session.posargs)


@nox.session
def lowest(session: nox.Session) -> None:
    """Run unit and contract tests with the oldest dependencies that the distributions allow."""
    session.install("uv")  # pip has no such resolution
    uv = ["uv", "pip", "install", "--python", str(Path(session.bin) / "python")]
    editable = [part for folder in DISTRIBUTIONS for part in ("-e", str(folder))]
    session.run(*uv, "--resolution", "lowest-direct", *editable)
    # Only what users get is held at its oldest; the test tools are the newest that go with it.
    held = Path(session.create_tmp()) / "held.txt"
    freeze = ["uv", "pip", "freeze", "--quiet", "--exclude-editable", "--python", uv[-1]]
    held.write_text(str(session.run(*freeze, silent=True)))
    session.run(*uv, "--constraint", str(held), *nox.project.dependency_groups(PYPROJECT, "test"))
    pytest(session, *folders_of_tests("unit", "contract"), *session.posargs)


@nox.session
def cov(session: nox.Session) -> None:
    """Measure coverage: all of kernel, spi and model, 95 % elsewhere; `-- main`: and all lines changed since main."""
    prepare(session, "test", "cov")
    session.run("coverage", "erase")
    sources = ",".join(SOURCES)
    tests_to_run = folders_of_tests("unit", "contract", "integration")
    session.run("coverage", "run", f"--source={sources}", "-m", "pytest", *tests_to_run)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "xml", "--quiet")
    inner = "core/src/celeriac/kernel/*,core/src/celeriac/spi/*,core/src/celeriac/model/*"
    session.run("coverage", "report", "--show-missing", "--skip-covered", f"--omit={inner}", "--fail-under=95")
    session.run("coverage", "report", "--show-missing", "--skip-covered", f"--include={inner}", "--fail-under=100")
    if session.posargs:
        branch = session.posargs[0]
        session.run("diff-cover", "coverage.xml", f"--compare-branch={branch}", "--fail-under=100")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks, or `-- NAME` one of them; `--compare REVISION` runs them there too, one after the other."""
    args = list(session.posargs)
    subjects = {path.stem.removeprefix("bench_") for path in ROOT.glob("tests/benchmarks/bench_*.py")}
    subject = args.pop(0) if args and args[0] in subjects else None
    trees = [ROOT]
    if "--compare" in args:
        place = args.index("--compare")
        _, revision = args[place], args.pop(place + 1)
        args.pop(place)
        trees.insert(0, other_tree(session, revision))
    for tree in trees:
        session.log(f"Benchmarks of {tree}")
        moved = [tree / folder.relative_to(ROOT) for folder in DISTRIBUTIONS]
        prepare(session, "test", "bench", folders=[folder for folder in moved if folder.exists()])
        with session.chdir(tree):
            if subject is None:
                session.run("python", "-m", "pytest", "tests/benchmarks", "-p", "no:randomly", "--timeout=600")
            for script in sorted((tree / "tests/benchmarks").glob(f"bench_{subject or '*'}.py")):
                session.run("python", str(script), *args, env={"PYTHONPATH": str(tree / "tests")})


def other_tree(session: nox.Session, revision: str) -> Path:
    """Check `revision` out beside this tree and return where."""
    folder = Path(session.create_tmp()) / "tree"
    session.run("git", "worktree", "prune", external=True)
    shutil.rmtree(folder, ignore_errors=True)
    session.run("git", "worktree", "add", "--force", "--detach", str(folder), revision, external=True)
    return folder


@nox.session
def demo(session: nox.Session) -> None:
    """Count the identifiers of Python's standard library with two workers, one of which is killed half-way."""
    prepare(session, "demo")
    session.run("python", "docs/examples/demo/run.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, warnings being errors, and run its snippets; `-- linkcheck` follows outside links."""
    prepare(session, "test", "docs")
    builder = session.posargs[0] if session.posargs else "html"
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-b", builder, "docs", f"docs/_build/{builder}")
    pytest(session, *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/integration/test_docs_*.py")))
    session.log(f"Open docs/_build/{builder}/index.html")


# -- distributions ---------------------------------------------------------------------------------


@nox.session
def build(session: nox.Session) -> None:
    """Build an sdist of every distribution, and its wheel from that sdist, into dist/."""
    build_all(session, ROOT / "dist")


def build_all(session: nox.Session, target: Path) -> None:
    session.install("hatchling>=1.27")
    shutil.rmtree(target, ignore_errors=True)
    for folder in DISTRIBUTIONS:
        with session.chdir(folder):
            session.run("python", "-m", "hatchling", "build", "-t", "sdist", "-d", str(target), silent=True)
    for sdist in sorted(target.glob("*.tar.gz")):
        with tempfile.TemporaryDirectory() as unpacked, tarfile.open(sdist) as archive:
            archive.extractall(unpacked, filter="data")
            (source,) = Path(unpacked).iterdir()
            with session.chdir(source):
                session.run("python", "-m", "hatchling", "build", "-t", "wheel", "-d", str(target), silent=True)
    session.log(f"{len(list(target.iterdir()))} files in {target.relative_to(ROOT)}")


@nox.session
def install(session: nox.Session) -> None:
    """Build everything, install each wheel alone with core and run its contract suite there, and try every extra."""
    target = ROOT / ".nox" / "dist"
    build_all(session, target)
    session.install(*nox.project.dependency_groups(PYPROJECT, "test"))
    environment = {"CELERIAC_DIST": str(target)}
    if session.venv_backend == "uv":
        environment["UV"] = nox.virtualenv.UV
    pytest(session, "tests/install", "--timeout=600", *session.posargs, env=environment)


@nox.session(venv_backend="none")
def new(session: nox.Session) -> None:
    """Start a bundle: `-- NAME` copies bundles/_template to bundles/NAME and adds its extra."""
    if len(session.posargs) != 1:
        session.error("Say which: nox -s new -- NAME")
    copy = runpy.run_path(str(ROOT / "bundles/_template/new.py"))["copy"]
    for line in copy(ROOT, session.posargs[0]):
        session.log(line)


@nox.session
def release(session: nox.Session) -> None:
    """Prepare a release: `-- VERSION` rewrites every version and pin and turns the fragments into the change log."""
    if len(session.posargs) != 1 or not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", session.posargs[0]):
        session.error("Say which: nox -s release -- 1.2.3")
    version = session.posargs[0]
    rewrite_version(ROOT, version)
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("towncrier", "build", "--yes", "--version", version)
    session.log(f"Read the change, then: git commit -am 'Release {version}' && git tag v{version}")


def rewrite_version(root: Path, version: str) -> None:
    """Set the one version of every distribution under `root`, and the pins between them."""
    for path in (root / "pyproject.toml", *root.glob("core/pyproject.toml"), *root.glob("[pb]*/*/pyproject.toml")):
        text = re.sub(r'(?m)^version = "[^"]+"$', f'version = "{version}"', path.read_text())
        path.write_text(re.sub(r'"(celeriac[a-z0-9-]*)==[^";]+', rf'"\1=={version}', text))


@nox.session(venv_backend="none")
def dev(session: nox.Session) -> None:
    """Make .venv, with every distribution editable and every tool."""
    python = ROOT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    uv = nox.virtualenv.UV if nox.virtualenv.HAS_UV else None
    if not python.exists():
        command = [uv, "venv", ".venv"] if uv else [sys.executable, "-m", "venv", ".venv"]
        session.run(*command, external=True)
    installer = [uv, "pip", "install", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
    editable = [part for folder in DISTRIBUTIONS for part in ("-e", str(folder))]
    groups = nox.project.dependency_groups(PYPROJECT, *PYPROJECT["dependency-groups"])
    session.run(*installer, *editable, *dict.fromkeys(groups), external=True)
