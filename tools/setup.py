"""Set up a checkout for use: a virtual environment from pinned, hashed requirements, and tools.

Standard library only: it runs before anything is installed.

    python3 tools/setup.py spinup       what `make spinup` needs
    python3 tools/setup.py dev          what the tests and checks need
    python3 tools/setup.py tools        sops and age, which the tests of real secrets need
    python3 tools/setup.py docker       a Docker Engine, which the tests of the swarm need
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from debian_packages import codename, fail, install, run, say

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TOOLS = ROOT / ".tools"
SOPS = "github.com/getsops/sops/v3/cmd/sops@v3.10.2"
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3")
OLDEST = (3, 11)
# What sops itself asks for, and the first Go that fetches a newer one where it may.
GO_MINOR = 23
GO_FETCHES_MINOR = 21
GO_PLACES = Path("/usr/lib")
WITHOUT_GO = ("bookworm",)


def apt(*packages: str, backports_of: str | None = None, recommended: bool = False) -> None:
    """Install Debian packages, if this is Debian or alike and the user is root."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        fail(f"please install: {' '.join(packages)} (Debian's names), then run this again")
    install(*packages, backports_of=backports_of, recommended=recommended)


def version_of(python: str) -> tuple[int, ...]:
    """Read the version of a Python; () if it does not run."""
    script = "import sys, ensurepip, venv; print(*sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-c", script], capture_output=True, text=True, timeout=60, check=False
        )
    except FileNotFoundError:
        return ()
    return tuple(int(part) for part in done.stdout.split())


def find_python() -> str:
    """Find a Python that is new enough and can make virtual environments."""
    for attempt in range(2):
        for name in PYTHONS:
            found = shutil.which(name)
            if found and version_of(found) >= OLDEST:
                return found
        if attempt == 0:
            apt("python3", "python3-venv")
    fail("no Python 3.11 or newer with the module venv was found")
    raise AssertionError


def install_requirements(requirements: str) -> None:
    """Install into `.venv` the pins of `requirements/<name>.txt`, and the project itself."""
    pins = ROOT / "requirements" / f"{requirements}.txt"
    wanted = hashlib.sha256(pins.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = VENV / f".installed-{requirements}"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    pip = VENV / "bin" / "pip"
    if not pip.exists():
        say("making the virtual environment .venv")
        run(find_python(), "-m", "venv", str(VENV))
    say(f"installing requirements/{requirements}.txt")
    run(str(pip), "install", "-q", "--require-hashes", "-r", str(pins))
    run(str(pip), "install", "-q", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    stamp.write_text(wanted)


def can_build_sops(go: str) -> bool:
    """Return whether a Go can build sops: it is new enough, or may fetch a new toolchain."""
    try:
        shown = subprocess.run(
            [go, "env", "GOVERSION", "GOTOOLCHAIN"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stdout.split()
    except OSError:
        return False
    found = re.match(r"go1\.(\d+)", shown[0] if shown else "")
    if found is None:
        return False
    minor = int(found[1])
    may_fetch = shown[1:] != ["local"]
    return minor >= GO_MINOR or (minor >= GO_FETCHES_MINOR and may_fetch)


def find_go() -> str | None:
    """Find a Go that can build sops: the one on PATH before those of Debian's packages."""
    candidates = [shutil.which("go") or "", *map(str, sorted(GO_PLACES.glob("go-1.*/bin/go")))]
    return next((go for go in candidates if go and can_build_sops(go)), None)


def go() -> str:
    """Find a Go that can build sops; install one if root can do that on a Debian."""
    found = find_go()
    release = codename() if found is None and os.geteuid() == 0 else None
    if release is not None:
        old = release in WITHOUT_GO
        apt("golang-go", "ca-certificates", backports_of=release if old else None)
        found = find_go()
    if found is None:
        fail(
            f"sops is missing, and building it takes Go 1.{GO_MINOR} or newer: install that "
            "(https://go.dev; Debian 12 has it in bookworm-backports), or put sops on PATH"
        )
    return found


def install_tools() -> None:
    """Install sops into .tools/bin, and age onto the system."""
    if shutil.which("age-keygen") is None:
        apt("age")
    binary = TOOLS / "bin" / "sops"
    if binary.exists() or shutil.which("sops"):
        return
    program = go()
    say(f"building {SOPS}")
    (TOOLS / "bin").mkdir(parents=True, exist_ok=True)
    # Without C it needs no libraries: it is put into guests as it is.
    run(
        program,
        "install",
        SOPS,
        env={"GOBIN": str(TOOLS / "bin"), "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"},
    )


def install_docker() -> None:
    """Install Debian's Docker Engine; where systemd runs, the package starts it."""
    if any(shutil.which(name) is None for name in ("dockerd", "busybox", "ip")):
        apt("docker.io", "busybox-static", "iptables", "iproute2", recommended=True)


def main(arguments: list[str]) -> None:
    """Run the jobs that are named."""
    jobs = {
        "spinup": lambda: install_requirements("spinup"),
        "dev": lambda: install_requirements("dev"),
        "tools": install_tools,
        "docker": install_docker,
    }
    unknown = [name for name in arguments if name not in jobs]
    if unknown or not arguments:
        say(f"usage: setup.py {'|'.join(jobs)} ...")
        sys.exit(2)
    for name in arguments:
        jobs[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
