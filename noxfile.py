"""Checks, builds and benchmarks of all packages: `nox` runs every check, `nox -l` lists the sessions.

Packages are the folders of `packages/`: a new one needs no edit here. `nox -t adapmtl` runs all of one package.
"""

import os
import shutil
from itertools import combinations
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"  # links one torch into every environment instead of copying it
nox.options.sessions = ["lint", "types", "isolated", "doctests", "integration", "docs"]

ROOT = Path(__file__).parent
CORE = "mtl-core"
PACKAGES = sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))
EACH_PACKAGE = [nox.param(package, id=package, tags=[package]) for package in PACKAGES]
METHODS = [package for package in PACKAGES if package != CORE]
SEVERAL = [*combinations(METHODS, 1), *combinations(METHODS, 2), tuple(METHODS)]
# One thread a process: on these small networks two processes gain more than two threads.
TEST_ENV = {"OMP_NUM_THREADS": "1"}
TEST_TOOLS = ["pytest-xdist>=3.5"]
PARALLEL = ["-n", str(min(os.cpu_count() or 1, 4))]


def module(package: str) -> str:
    """Import name of a package: the only folder in its `src`."""
    return next(path.parent.name for path in ROOT.glob(f"packages/{package}/src/*/py.typed"))


def with_core(package: str) -> list[str]:
    return sorted({CORE, package})


def install_editable(session: nox.Session, packages: list[str], *others: str, extra: str = "") -> None:
    paths = [argument for package in packages for argument in ("-e", f"packages/{package}{extra}")]
    session.install(*paths, *others)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check", "--diff")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, on the sources of all packages."""
    install_editable(session, PACKAGES, "mypy>=1.14")
    session.run("mypy", *(argument for package in PACKAGES for argument in ("-p", module(package))))


@nox.session
@nox.parametrize("package", EACH_PACKAGE)
def tests(session: nox.Session, package: str) -> None:
    """The tests of one package, against the sources of this checkout (arguments go to pytest)."""
    install_editable(session, with_core(package), *TEST_TOOLS, extra="[test]")
    session.run("pytest", *PARALLEL, f"packages/{package}/tests", *session.posargs, env=TEST_ENV)


@nox.session
@nox.parametrize("package", EACH_PACKAGE)
def doctests(session: nox.Session, package: str) -> None:
    """The examples in the docstrings of one package."""
    install_editable(session, with_core(package), extra="[test]")
    session.run("pytest", "--doctest-modules", f"packages/{package}/src", *session.posargs, env=TEST_ENV)


@nox.session(reuse_venv=False)
@nox.parametrize("package", EACH_PACKAGE)
def isolated(session: nox.Session, package: str) -> None:
    """The tests of one package in a fresh environment that holds its wheel, core's wheel and nothing else of ours."""
    folder = Path(session.create_tmp()).resolve()
    wheels = {name: build_wheel(session, name, folder / "wheels") for name in with_core(package)}
    requirements = [f"{wheel}[test]" if name == package else str(wheel) for name, wheel in wheels.items()]
    session.install(*requirements, *TEST_TOOLS)
    session.chdir(folder)  # from here on the sources cannot be imported
    refuse_siblings(session, list(wheels))
    shutil.rmtree(folder / "tests", ignore_errors=True)
    shutil.copytree(ROOT / "packages" / package / "tests", folder / "tests")
    for name in ("pyproject.toml", "conftest.py"):
        shutil.copy(ROOT / name, folder)
    session.run("pytest", *PARALLEL, "tests", *session.posargs, env=TEST_ENV)


@nox.session(reuse_venv=False)
@nox.parametrize("chosen", [nox.param(chosen, id="+".join(chosen)) for chosen in SEVERAL])
def together(session: nox.Session, chosen: tuple[str, ...]) -> None:
    """One, two or all methods from their wheels: each imports and answers, and no other is there (not in the default set)."""
    folder = Path(session.create_tmp()).resolve()
    session.install(*(str(build_wheel(session, package, folder / "wheels")) for package in (CORE, *chosen)))
    session.chdir(folder)
    for package in chosen:
        session.run("python", "-c", f"import {module(package)}")
        session.run(module(package), "fit", "--help", silent=True)
    refuse_siblings(session, [CORE, *chosen])


def refuse_siblings(session: nox.Session, present: list[str]) -> None:
    """End the session if a package of ours can be imported that is not named."""
    others = [module(package) for package in PACKAGES if package not in present]
    program = f"import importlib.util as i; print(*[m for m in {others} if i.find_spec(m)])"
    if found := session.run("python", "-c", program, silent=True).strip():
        session.error(f"importable beside {', '.join(present)}: {found}")


def build_wheel(session: nox.Session, package: str, folder: Path) -> Path:
    """Build one wheel into an empty folder of its own."""
    shutil.rmtree(folder / package, ignore_errors=True)
    session.run(
        "uv", "build", "--quiet", "--wheel", "--out-dir", str(folder / package), str(ROOT / "packages" / package)
    )
    return next((folder / package).glob("*.whl"))


@nox.session
@nox.parametrize("package", [nox.param(package, id=package) for package in PACKAGES])
def lowest(session: nox.Session, package: str) -> None:
    """The tests of one package with the lowest versions that it declares (not in the default set)."""
    install_editable(session, with_core(package), *TEST_TOOLS, "--resolution", "lowest-direct", extra="[test]")
    # Old releases use what newer ones of their own dependencies deprecate, and networkx says that pandas is missing.
    old = ["-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning", "-W", "ignore::ImportWarning"]
    session.run("pytest", *PARALLEL, *old, f"packages/{package}/tests", *session.posargs, env=TEST_ENV)


@nox.session
def integration(session: nox.Session) -> None:
    """What no single package can test: isolation, the READMEs, changelogs, the repository itself."""
    install_editable(session, PACKAGES, *TEST_TOOLS, extra="[test]")
    session.run("pytest", *PARALLEL, "integration_tests", *session.posargs, env=TEST_ENV)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, strict and without the network, into `site/`; with a package's name, its section alone."""
    tools = ["mkdocs>=1.6,<2", "mkdocs-material>=9.6", "mkdocstrings[python]>=0.28", "latex2mathml>=3.77", "ruff>=0.9"]
    install_editable(session, PACKAGES, *tools)  # its examples are run
    alone = session.posargs[0] if session.posargs[:1] and session.posargs[0] in PACKAGES else ""
    environment = {**TEST_ENV, "NO_MKDOCS_2_WARNING": "1", "DOCS_PACKAGE": alone}
    session.run("mkdocs", "build", "--strict", *session.posargs[bool(alone) :], env=environment)


@nox.session
def browser(session: nox.Session) -> None:
    """Every page of the site and a report in headless Chromium (not in the default set: it needs Chromium)."""
    install_editable(session, PACKAGES, "playwright>=1.50")
    session.run("python", "docs/browser.py", *session.posargs, env=TEST_ENV)


@nox.session
def demo(session: nox.Session) -> None:
    """Train on data that core carries, prune and report: `adapmtl demo`, which gets the arguments."""
    install_editable(session, [CORE, "adapmtl"])
    session.run("adapmtl", "demo", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """The wheel and the sdist of every package, into `dist/`."""
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    for package in PACKAGES:
        session.run("uv", "build", "--quiet", "--out-dir", "dist", f"packages/{package}")


@nox.session
def results(session: nox.Session) -> None:
    """Train what studies lack, then make the READMEs' tables and pictures: `nox -s results -- PACKAGE STUDY`, or all."""
    run_script(session, "shared/studies/results.py")


@nox.session
def bench(session: nox.Session) -> None:
    """The speed benchmarks of one package (`nox -s bench -- PACKAGE`) or of all, one thread."""
    run_script(session, "shared/benchmarks/bench.py", "torch-pruning>=1.5")  # what compaction is compared with


def run_script(session: nox.Session, script: str, *others: str) -> None:
    """Run a script of `shared` with all packages; the rows of both, and what READMEs show of them, lie with the studies."""
    install_editable(session, PACKAGES, *others, extra="[test]")
    paths = os.pathsep.join(str(ROOT / "shared" / folder) for folder in ("studies", "benchmarks"))
    session.run("python", script, *session.posargs, env={**TEST_ENV, "PYTHONPATH": paths})
