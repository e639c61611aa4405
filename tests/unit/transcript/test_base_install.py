"""Installed alone, with its base dependencies and no extra, the package verifies transcripts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agency.commandline.extras import EXTRAS, missing_extra
from agency.transcript import Statement, public_pem, sign

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = Path(__file__).with_name("samples")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERIFIER = {"click", "cryptography", "lazy-loader", "pydantic", "rich", "securesystemslib"}
NEED_MORE = (
    ("check", str(ROOT / "instance")),
    ("control", "run", "--config", "/dev/null"),
    ("guest", "list"),
    ("up",),
    ("activate", "--help"),
)


def plain(name: str) -> str:
    """A distribution's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required(requirements: list[str]) -> set[str]:
    """The distributions that requirements name, without those of extras."""
    wanted = [text for text in requirements if "extra ==" not in text]
    return {plain(re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0]) for text in wanted}


def closure(names: set[str]) -> dict[str, metadata.Distribution]:
    """The installed distributions that these need, themselves among them."""
    found: dict[str, metadata.Distribution] = {}
    left = set(names)
    while left:
        name = left.pop()
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another system or Python; pip's check says if it is needed here
        left |= required(found[name].requires or []) - found.keys()
    return found


def run(*argv: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    words, env = [str(word) for word in argv], {"LANG": "C", **more}
    return subprocess.run(words, capture_output=True, text=True, timeout=120, env=env)


def pip(*argv: str | Path) -> str:
    done = run(sys.executable, "-I", "-m", "pip", *argv)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copied(distribution: metadata.Distribution, site: Path) -> None:
    """Put an installed distribution, as its record lists it, into another environment."""
    own = Path(sysconfig.get_path("purelib"))
    for file in distribution.files or ():
        source = Path(str(distribution.locate_file(file))).resolve()
        if own in source.parents and source.suffix != ".pyc":
            target = site / source.relative_to(own)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the package's wheel and its base dependencies.

    They are those of this environment, whose hashes were checked when it was made: nothing is
    fetched. pip says that nothing is missing.
    """
    base = tmp_path_factory.mktemp("base")
    shutil.copytree(ROOT / "pyscripts", base / "source" / "pyscripts")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, base / "source")
    offline = ("--quiet", "--no-index", "--no-deps", "--disable-pip-version-check")
    pip("wheel", *offline, "--no-build-isolation", "-w", base / "wheels", base / "source")
    venv.create(base / "venv", with_pip=False)
    (site,) = (base / "venv").glob("lib/python*/site-packages")
    for distribution in closure(required(PROJECT["dependencies"])).values():
        copied(distribution, site)
    (wheel,) = (base / "wheels").glob("agency-*.whl")
    pip("--python", base / "venv", "install", *offline, wheel)
    assert pip("--python", base / "venv", "check").strip() == "No broken requirements found."
    return base / "venv" / "bin"


def test_the_base_is_what_verifying_takes() -> None:
    assert required(PROJECT["dependencies"]) == VERIFIER


def test_libraries_of_extras_are_not_there(installed: Path) -> None:
    found = "; ".join(f"print({name!r} if find_spec({name!r}) else '')" for name in EXTRAS)
    done = run(installed / "python", "-c", f"from importlib.util import find_spec; {found}")
    assert (done.returncode, done.stdout.split()) == (0, [])


@pytest.mark.parametrize("target", ["local", "incus", "ssh"])
def test_it_verifies_a_released_sample(target: str, installed: Path) -> None:
    sample = SAMPLES / f"v1/{target}.json"
    verify = (installed / "agency", "transcript", "verify")
    done = run(*verify, sample, "--key", sample.with_suffix(".pub"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verdict: authentic, complete, and PASSED" in done.stdout
    other = SAMPLES / f"v1/{'local' if target == 'ssh' else 'ssh'}.pub"
    assert run(*verify, sample, "--key", other).returncode == 1


def test_it_verifies_what_is_made_now(
    installed: Path, tmp_path: Path, statement: Statement
) -> None:
    key = Ed25519PrivateKey.generate()
    (tmp_path / "now.json").write_bytes(sign(statement, key))
    (tmp_path / "now.pub").write_bytes(public_pem(key))
    arguments = (tmp_path / "now.json", "--key", tmp_path / "now.pub")
    done = run(installed / "agency", "transcript", "verify", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "v2 (draft)" in done.stdout


@pytest.mark.parametrize("words", [("--help",), ("version",), ("transcript", "schema")], ids=str)
def test_what_else_the_base_can_do(words: tuple[str, ...], installed: Path) -> None:
    done = run(installed / "agency", *words)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", NEED_MORE, ids=" ".join)
def test_a_command_whose_extra_is_missing_says_which(
    words: tuple[str, ...], installed: Path
) -> None:
    done = run(installed / "agency", *words)
    assert done.returncode == 3, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.endswith("pip install 'agency[full]'")


def test_the_spin_up_says_it_too(installed: Path, tmp_path: Path) -> None:
    output = tmp_path / "boot.json"
    done = run(
        installed / "spinup_smoke", "--output", output, XDG_STATE_HOME=str(tmp_path / "state")
    )
    assert done.returncode == 3, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.endswith("pip install 'agency[full]'")


@pytest.mark.parametrize("extra", ["full", "postgresql", "guest", "local"])
def test_every_library_of_an_extra_is_known_by_what_is_imported(extra: str) -> None:
    wanted = required(PROJECT["optional-dependencies"][extra]) - {"agency"}
    modules = {name for name, found in EXTRAS.items() if found == extra}
    assert len(modules) == len(wanted)
    of = metadata.packages_distributions()
    brought = {plain(name) for module in modules for name in of.get(module, ())}
    here = {name for name in wanted if closure({name})}
    assert brought == here


def test_other_missing_modules_stay_defects() -> None:
    for name in ("agency.nothing", "json.nothing", "no_such_library", None):
        assert missing_extra(ModuleNotFoundError(name=name)) is None
    known = missing_extra(ModuleNotFoundError(name="sqlalchemy.ext.asyncio"))
    assert known is not None
    assert known.message == "this needs sqlalchemy: pip install 'agency[full]'"
