"""The unit suite with the versions of libraries that nixpkgs has, as a machine runs them.

    python3 tools/nixpkgs_versions.py [ARGUMENTS OF PYTEST]

Needs Nix, <nixpkgs>, the Python version of nixpkgs, and PyPI. The virtual environment stays in
.tools/nixpkgs-versions. What nixpkgs or PyPI lacks has the version that the requirements pin, and
is named. Standard library only.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements" / "dev.txt"
PLACE = ROOT / ".tools" / "nixpkgs-versions"
# They look at the source and take no part in a run; a part of them nixpkgs has under other names.
NOT_RUN = re.compile(r"mypy.*|ruff|import-linter|grimp|types-.*|librt|ast-serialize|pathspec")
MOST_MISSING = 25
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)", re.M)
_NO_SUCH = re.compile(r"No matching distribution found for ([A-Za-z0-9._-]+)==")


def pins() -> dict[str, str]:
    """Return what the requirements pin, of what takes part in a run."""
    found = dict(_PIN.findall(REQUIREMENTS.read_text()))
    return {name: version for name, version in found.items() if not NOT_RUN.fullmatch(name)}


def of_nixpkgs(names: list[str]) -> tuple[str, dict[str, str]]:
    """Return nixpkgs' version of Python, and of each package that it has."""
    listed = " ".join(json.dumps(name) for name in names)
    argv = ["nix-instantiate", "--eval", "--strict", "--json"]
    argv += ["--arg", "names", f"[ {listed} ]", str(ROOT / "tools/nixpkgs_versions.nix")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise SystemExit(f"<nixpkgs> does not say its versions:\n{done.stderr}")
    told = json.loads(done.stdout)
    return told["python"], {name: one for name, one in told["versions"].items() if one}


def install(pip: list[str], wanted: dict[str, str], pinned: dict[str, str]) -> list[str]:
    """Install the wanted versions; returns those of which PyPI has only others."""
    absent: list[str] = []
    for _ in range(MOST_MISSING):
        lines = [f"{name}=={version}" for name, version in sorted(wanted.items())]
        # Nixpkgs' set is its own choice: what a package asks for is not resolved anew.
        argv = [*pip, "install", "--quiet", "--no-deps", *lines]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=1800, check=False)
        if done.returncode == 0:
            return absent
        missing = _NO_SUCH.search(done.stderr)
        if missing is None or wanted[missing[1]] == pinned[missing[1]]:
            raise SystemExit(done.stderr)
        absent.append(missing[1])
        wanted[missing[1]] = pinned[missing[1]]
    raise SystemExit(f"PyPI lacks more than {MOST_MISSING} of nixpkgs' versions")


def main(arguments: list[str]) -> int:
    """Make the environment and run the suite; returns pytest's exit status."""
    pinned = pins()
    version, found = of_nixpkgs(sorted(pinned))
    python = shutil.which(f"python{version}")
    if python is None:
        raise SystemExit(f"nixpkgs has Python {version}, and there is no python{version} here")
    subprocess.run([python, "-m", "venv", "--clear", str(PLACE)], check=True, timeout=300)
    pip = [str(PLACE / "bin/python"), "-m", "pip"]
    absent = install(pip, {**pinned, **found}, pinned)
    editable = [*pip, "install", "--quiet", "--no-deps", "--no-build-isolation", "-e", str(ROOT)]
    subprocess.run(editable, check=True, timeout=600)
    others = sorted(set(pinned) - set(found)) + absent
    differ = sum(found.get(name, pin) != pin for name, pin in pinned.items()) - len(absent)
    sys.stdout.write(
        f"Python {version}, {differ} of {len(pinned)} packages of another version than pinned; "
        f"as pinned, because nixpkgs or PyPI lacks it: {', '.join(others) or 'none'}\n"
    )
    sys.stdout.flush()
    argv = [str(PLACE / "bin/python"), "-m", "pytest", *(arguments or ["tests/unit", "-q"])]
    return subprocess.run(argv, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
