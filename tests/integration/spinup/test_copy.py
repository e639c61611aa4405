"""The digested files run, and nothing that lies beside them in the checkout or environment."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import py_compile
import shutil
import stat
import subprocess
from pathlib import Path

import launcher
import pytest
from driving import BIN, ROOT, SpinUp
from repositories import git

from agency.source_digest import source_digest, source_files

SITE = Path(importlib.util.find_spec("yarl").origin).parents[1]  # type: ignore[union-attr, arg-type]


def subjects(run: SpinUp) -> dict[str, dict[str, str]]:
    payload = base64.b64decode(json.loads(run.output.read_text())["payload"])
    return {part["name"]: part["digest"] for part in json.loads(payload)["subject"]}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clean checkout of this source, as it lies here."""
    root = tmp_path / "checkout"
    for path in source_files(ROOT):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, root / path, follow_symlinks=False)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    return root


@pytest.fixture
def venv(tmp_path: Path, checkout: Path) -> Path:
    """An environment like this one, with the console script that set-up writes."""
    place = tmp_path / "venv"
    site = place / SITE.relative_to(BIN.parent)
    site.mkdir(parents=True)
    for entry in SITE.iterdir():
        if entry.name == "yarl":
            shutil.copytree(entry, site / entry.name)
        elif entry.suffix != ".pth":
            (site / entry.name).symlink_to(entry)
    (place / "bin").mkdir()
    (place / "bin/python").symlink_to((BIN / "python").resolve())
    shutil.copy(BIN.parent / "pyvenv.cfg", place)
    launcher.write(place, checkout)
    return place


class Evil:
    """Code that leaves a witness when it runs, put where Python would prefer it."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def code(self, name: str) -> str:
        return f"open({str(self.place / name)!r}, 'w').close()\n"

    def ran(self) -> set[str]:
        return {path.name for path in self.place.iterdir()}

    def bytecode(self, source: Path, name: str) -> None:
        """Put bytecode beside a source, which says that it need not be compared with it."""
        text = self.place.parent / "evil.py"
        text.write_text(source.read_text() + "\n" + self.code(name))
        target = Path(importlib.util.cache_from_source(str(source)))
        target.parent.mkdir(exist_ok=True)
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(text), str(target), str(source), True, invalidation_mode=mode)


@pytest.fixture
def evil(tmp_path: Path) -> Evil:
    (tmp_path / "witnesses").mkdir()
    return Evil(tmp_path / "witnesses")


def test_what_lies_beside_the_digested_files_does_not_run(
    spinup, checkout: Path, venv: Path, evil: Evil
) -> None:
    clean = source_digest(checkout)
    package = checkout / "pyscripts/agency"
    shadow = package / "spinup/probes/artifacts"  # a name that .gitignore has
    shadow.mkdir()
    (shadow / "__init__.py").write_text(evil.code("ignored package"))
    for module in ("__init__", "source_digest", "spinup/launch/main", "spinup/probes/secrecy",
                   "control/service/__init__", "transcript/verification"):  # fmt: skip
        evil.bytecode(package / f"{module}.py", f"bytecode of {module.replace('/', '.')}")
    site = venv / SITE.relative_to(BIN.parent)
    (site / "evil.pth").write_text(f"import os; {evil.code('pth')}")
    (site / "sitecustomize.py").write_text(evil.code("sitecustomize"))
    (site / "jinja2.py").write_text(evil.code("module"))
    evil.bytecode(site / "yarl/__init__.py", "bytecode of a library")

    run = spinup()
    run.program, run.checkout = (str(venv / "bin/spinup_smoke"),), checkout
    run.environment = {"PYTHONPATH": str(package)}
    assert run.start().end() == 0, run.text
    assert evil.ran() == set()
    assert subjects(run)["source"] == clean.digest_set()
    verified = run.verify("--source", str(checkout), "--require-gate", "hermetic",
                          "--subject", f"source=gitCommit:{clean.git_commit}")  # fmt: skip
    assert verified.returncode == 0, verified.stdout
    assert len(subjects(run)["libraries"]["sha256"]) == 64

    # Python alone would have run them.
    modules = "agency.spinup.probes.secrecy, agency.source_digest, agency.transcript.verification"
    argv = [str(venv / "bin/python"), "-c", f"import yarl, {modules}"]
    environment = {"PYTHONPATH": str(checkout / "pyscripts"), "PATH": os.environ["PATH"]}
    subprocess.run(argv, check=True, env=environment, timeout=60)
    expected = {"pth", "bytecode of a library", "bytecode of __init__"}
    if not (Path(os.__file__).parent / "sitecustomize.py").exists():  # Debian's Python has one
        expected.add("sitecustomize")
    assert evil.ran() >= expected


def test_a_package_that_git_was_told_to_hide_shows(
    spinup, checkout: Path, venv: Path, evil: Evil
) -> None:
    clean = source_digest(checkout)
    shadow = checkout / "pyscripts/agency/spinup/probes/secrecy"
    shadow.mkdir()
    source = shadow.with_suffix(".py").read_text()
    (shadow / "__init__.py").write_text(f"{source}\n{evil.code('shadow')}")
    (checkout / ".git/info").mkdir(exist_ok=True)
    (checkout / ".git/info/exclude").write_text("secrecy/\n")
    assert git(checkout, "status", "--porcelain") == ""
    run = spinup()
    run.program, run.checkout = (str(venv / "bin/spinup_smoke"),), checkout
    run.start().end()
    found = subjects(run)["source"]
    assert found["sha256"] != clean.sha256
    assert set(found) == {"sha256"}
    assert run.verify("--subject", f"source=sha256:{clean.sha256}").returncode == 1


def test_the_launcher_takes_neither_of_two_of_a_name(
    checkout: Path, venv: Path, evil: Evil, tmp_path: Path
) -> None:
    shadow = checkout / "pyscripts/agency/source_digest"
    shadow.mkdir()
    (shadow / "__init__.py").write_text(evil.code("shadow"))
    argv = [str(venv / "bin/spinup_smoke"), "--output", str(tmp_path / "t.json")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "are both there" in done.stderr
    assert evil.ran() == set()


def test_a_challenge_and_the_key_are_in_the_transcript(spinup) -> None:
    run = spinup("--challenge", "number 4711")
    run.start()
    child = run.find("control", "run")
    key = run.state_home / "agency/transcript.key"
    inside = Path(f"/proc/{child}/root{key}")
    if Path(f"/proc/{child}/ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink():
        pytest.skip("no mount namespace on this kernel")
    assert key.read_bytes(), "it is there for everybody else"
    assert stat.S_ISSOCK(inside.stat().st_mode)
    with pytest.raises(OSError, match="No such device"):
        inside.open("rb")
    assert run.end() == 0, run.text
    assert run.predicate()["challenge"] == "number 4711"
    ok = run.verify("--challenge", "number 4711", "--target", "local", "--max-age", "10m",
                    "--run", run.predicate()["run"])  # fmt: skip
    assert ok.returncode == 0, ok.stdout
    assert run.verify("--challenge", "number 4712").returncode == 1


@pytest.mark.parametrize("text", ["", "two\nlines", "x" * 201])
def test_a_challenge_that_no_field_can_hold_is_refused(text: str) -> None:
    argv = [str(BIN / "spinup_smoke"), "--challenge", text, "--target", "incus"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "1 to 200 printable characters" in done.stderr


def test_help_needs_no_copy(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    argv = [str(BIN / "spinup_smoke"), "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0
    assert "--challenge" in done.stdout
    assert not (tmp_path / "state").exists()
