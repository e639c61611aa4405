"""Set-up of a checkout: a virtual environment from pinned, hashed requirements, and tools.

Standard library only: it runs before anything is installed.

    python3 tools/setup.py spinup       for `make spinup`
    python3 tools/setup.py dev          for the tests and checks, with the hook for commits
    python3 tools/setup.py tools        sops and age, which the tests of real secrets need
    python3 tools/setup.py docker       a Docker Engine, which the tests of the swarm need
    python3 tools/setup.py recipes      Playwright, a browser and Traefik, for recipe CI's tests
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import build_cache
import commit_message
import launcher
from debian_packages import codename, fail, install, run, say
from guest_host import BROWSERS

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TOOLS = ROOT / ".tools"
SOPS = "github.com/getsops/sops/v3"
# A Go module of ours: go.mod names the version, go.sum the checksum of every module in it.
SOPS_MODULE = ROOT / "tools" / "sops"
SOPS_VERSION = re.findall(rf"{re.escape(SOPS)} (v\S+)", (SOPS_MODULE / "go.mod").read_text())[0]
SOPS_BUILD = build_cache.Build("sops", SOPS_VERSION, "2 to 5 minutes")
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3")
OLDEST = (3, 11)
# The version that sops requires, and the first Go that can fetch a newer one.
GO_MINOR = 23
GO_FETCHES_MINOR = 21
GO_PLACES = Path("/usr/lib")
WITHOUT_GO = ("bookworm",)


def apt(*packages: str, backports_of: str | None = None, recommended: bool = False) -> None:
    """Install packages, if this is Debian or a derivative and the user is root."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        fail(f"please install: {' '.join(packages)} (Debian's names), then run this again")
    install(*packages, backports_of=backports_of, recommended=recommended)


def version_of(python: str) -> tuple[int, ...]:
    """Return the version of a Python; () if it does not run."""
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


def made_for(venv: Path) -> Path | None:
    """Return the path for which a virtual environment was made; None if it records none."""
    try:
        lines = (venv / "pyvenv.cfg").read_text().splitlines()
    except FileNotFoundError:
        return None
    commands = [line for line in lines if line.startswith("command = ")]
    found = re.search(r" -m venv (?:-\S+ )*(/.*)$", commands[0]) if commands else None
    return Path(found[1]) if found else None


def remove_stray_venv() -> None:
    """Remove a virtual environment that does not work here.

    It holds absolute paths, so in a copied or renamed checkout it would run the original's code.
    Its Python may also be gone from the system.
    """
    if VENV.is_symlink():
        say(f"{VENV} is a link to another place: making a new one")
        VENV.unlink()
    elif VENV.exists() and made_for(VENV) != VENV:
        say(f"{VENV} was made for {made_for(VENV)}: making a new one")
        shutil.rmtree(VENV)
    elif VENV.exists() and not (VENV / "bin" / "python").exists():
        say(f"the Python of {VENV} is gone: making a new one")
        shutil.rmtree(VENV)


def install_requirements(requirements: str) -> None:
    """Install the pins of `requirements/<name>.txt`, and the project itself, into `.venv`."""
    pins = ROOT / "requirements" / f"{requirements}.txt"
    wanted = hashlib.sha256(pins.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = VENV / f".installed-{requirements}"
    remove_stray_venv()
    if stamp.exists() and stamp.read_text() == wanted:
        launcher.write(VENV, ROOT)
        return
    pip = VENV / "bin" / "pip"
    if not pip.exists():
        say("making the virtual environment .venv")
        run(find_python(), "-m", "venv", str(VENV))
    say(f"installing requirements/{requirements}.txt")
    # Only wheels: building another form would run code that no hash covers.
    wheels = ("--require-hashes", "--only-binary", ":all:")
    run(str(pip), "install", "-q", *wheels, "-r", str(pins))
    run(str(pip), "install", "-q", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    launcher.write(VENV, ROOT)
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
    """Find a Go that can build sops; first on PATH, then in Debian's packages."""
    candidates = [shutil.which("go") or "", *map(str, sorted(GO_PLACES.glob("go-1.*/bin/go")))]
    return next((go for go in candidates if go and can_build_sops(go)), None)


def go() -> str:
    """Return a Go that can build sops; install one if this is Debian and the user is root."""
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
    """Install sops into .tools/bin, and age into the system."""
    if shutil.which("age-keygen") is None:
        apt("age")
    binary = TOOLS / "bin" / "sops"
    if binary.exists() or shutil.which("sops"):
        return
    build_cache.take(SOPS_BUILD, binary, build_sops)


def build_sops(place: Path) -> None:
    """Build sops into a directory. Without C it needs no libraries, so guests can run it.

    Go refuses a module that is not the one of `go.sum`, whatever its environment says.
    """
    settings = {"GOBIN": str(place), "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    settings["CGO_ENABLED"] = "0"
    run(go(), "install", "-C", str(SOPS_MODULE), f"{SOPS}/cmd/sops", env=settings)


def install_docker() -> None:
    """Install Debian's Docker Engine; the package starts it if systemd runs."""
    if any(shutil.which(name) is None for name in ("dockerd", "busybox", "ip", "restic")):
        apt("docker.io", "busybox-static", "iptables", "iproute2", "restic", recommended=True)


def install_for_recipes() -> None:
    """Install what the tests of recipe CI take: Playwright, Traefik, a browser, NSS's tools."""
    install_requirements("recipes")
    if not any(shutil.which(name) for name in BROWSERS):
        apt(BROWSERS[0])
    if shutil.which("certutil") is None:
        apt("libnss3-tools")


def set_up_development() -> None:
    """Install the tools of tests and checks, and the hook that checks commits' subjects."""
    install_requirements("dev")
    commit_message.install_hook(ROOT)


def main(arguments: list[str]) -> None:
    """Run the requested jobs."""
    jobs = {
        "spinup": lambda: install_requirements("spinup"),
        "dev": set_up_development,
        "tools": install_tools,
        "docker": install_docker,
        "recipes": install_for_recipes,
    }
    unknown = [name for name in arguments if name not in jobs]
    if unknown or not arguments:
        say(f"usage: setup.py {'|'.join(jobs)} ...")
        sys.exit(2)
    for name in arguments:
        jobs[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
