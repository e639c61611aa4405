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
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TOOLS = ROOT / ".tools"
SOPS = "github.com/getsops/sops/v3/cmd/sops@v3.10.2"
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3")
OLDEST = (3, 11)


def say(text: str) -> None:
    """One line for the person who waits."""
    print(f"setup: {text}", flush=True)  # noqa: T201 - there is no rich yet


def fail(text: str) -> None:
    """End with the exit status for a missing prerequisite."""
    say(text)
    sys.exit(3)


def run(*argv: str, timeout: float = 1800, env: dict[str, str] | None = None) -> None:
    """Run a program that must succeed."""
    done = subprocess.run(argv, timeout=timeout, check=False, env=env)
    if done.returncode != 0:
        fail(f"`{' '.join(argv[:4])} ...` ended with status {done.returncode}")


def apt(*packages: str) -> None:
    """Install Debian packages, where this is Debian and we are root."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        fail(f"please install: {' '.join(packages)} (Debian's names), then run this again")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    say(f"installing {' '.join(packages)}")
    run("apt-get", "update", "-q", "-q", env=environment)
    run("apt-get", "install", "-y", "-q", "-q", *packages, env=environment)


def version_of(python: str) -> tuple[int, ...]:
    """The version of a Python, or () when it does not run."""
    script = "import sys, ensurepip, venv; print(*sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-c", script], capture_output=True, text=True, timeout=60, check=False
        )
    except FileNotFoundError:
        return ()
    return tuple(int(part) for part in done.stdout.split())


def find_python() -> str:
    """A Python that is new enough and can make virtual environments."""
    for attempt in range(2):
        for name in PYTHONS:
            found = shutil.which(name)
            if found and version_of(found) >= OLDEST:
                return found
        if attempt == 0:
            apt("python3", "python3-venv")
    fail("no Python 3.11 or newer with the module venv was found")
    raise AssertionError


def install(requirements: str) -> None:
    """Make `.venv` hold what `requirements/<name>.txt` pins, and the project itself."""
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


def go_is_new_enough() -> bool:
    """Whether the Go here can build sops (or fetch a toolchain that can: 1.21 and newer)."""
    go = shutil.which("go")
    if go is None:
        return False
    shown = subprocess.run(
        [go, "env", "GOVERSION"], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    parts = shown.strip().removeprefix("go").split(".")
    return len(parts) >= 2 and parts[1].isdigit() and int(parts[1]) >= 21


def install_tools() -> None:
    """Put sops into .tools/bin and age onto the system."""
    if shutil.which("age-keygen") is None:
        apt("age")
    binary = TOOLS / "bin" / "sops"
    if binary.exists() or shutil.which("sops"):
        return
    if not go_is_new_enough():
        fail("sops is missing, and to build it Go 1.21 or newer is needed (https://go.dev)")
    say(f"building {SOPS}")
    (TOOLS / "bin").mkdir(parents=True, exist_ok=True)
    run(
        "go",
        "install",
        SOPS,
        env={**os.environ, "GOBIN": str(TOOLS / "bin"), "GOFLAGS": "-mod=mod"},
    )


def install_docker() -> None:
    """Put Debian's Docker Engine onto the system; it is not started."""
    if shutil.which("dockerd") is None or not Path("/bin/busybox").exists():
        apt("docker.io", "busybox-static", "iptables")


def main(arguments: list[str]) -> None:
    """Do what was asked for."""
    jobs = {
        "spinup": lambda: install("spinup"),
        "dev": lambda: install("dev"),
        "tools": install_tools,
        "docker": install_docker,
    }
    unknown = [name for name in arguments if name not in jobs]
    if unknown or not arguments:
        say(f"usage: setup.py {'|'.join(jobs)} ...")
        sys.exit(2)
    for name in arguments:
        jobs[name]()


main(sys.argv[1:])
