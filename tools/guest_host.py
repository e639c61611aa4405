"""Install what making guests needs on a Debian machine, as root.

Standard library only. Incus is in Debian 13 and newer; on Debian 12 it comes from backports, which
are taken from the archive that this machine uses already.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = ("mmdebstrap", "zstd", "util-linux", "uidmap", "nftables", "git", "age")
# It fetches the OpenID provider of guests; whoever has one keeps it.
NPM = "npm"
# The disk of a virtual machine: made by the first four, booted by the others' emulation in a test.
MACHINES = ("fdisk", "dosfstools", "mtools", "qemu-utils", "qemu-system-x86", "ovmf")
INCUS = ("incus-base", "incus-client")
SOURCES = Path("/etc/apt/sources.list.d")
OURS = SOURCES / "agency-backports.sources"
TIMEOUT_S = 1200


def say(text: str) -> None:
    """One line for the person who waits."""
    print(f"setup: {text}", flush=True)  # noqa: T201 - there is no rich yet


def fail(text: str) -> None:
    """End with the exit status for a missing prerequisite."""
    say(text)
    sys.exit(3)


def run(*argv: str) -> str:
    """Run a program that must succeed; returns what it printed."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        argv, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=False, env=environment
    )
    if done.returncode != 0:
        fail(f"`{' '.join(argv[:4])} ...` ended with status {done.returncode}")
    return done.stdout


def codename() -> str:
    """Debian's name of this release."""
    lines = Path("/etc/os-release").read_text().splitlines()
    facts = dict(line.split("=", 1) for line in lines if "=" in line)
    if facts.get("ID", "").strip('"') != "debian":
        fail("this is not Debian: install Incus and mmdebstrap by your system's means")
    return facts["VERSION_CODENAME"].strip('"')


def stanzas(text: str) -> list[dict[str, str]]:
    """The entries of a deb822 sources file, without comments."""
    found: list[dict[str, str]] = []
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t") and name:
                fields[name] += "\n" + line
            elif ":" in line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if fields:
            found.append(fields)
    return found


def one_line_stanzas(text: str) -> list[dict[str, str]]:
    """The entries of a one-line sources file (`deb [options] URI SUITE COMPONENT...`)."""
    found = []
    for line in text.splitlines():
        words = line.split("#")[0].replace("[", " [ ").replace("]", " ] ").split()
        if not words or words[0] != "deb":
            continue
        options: list[str] = []
        if "]" in words:
            end = words.index("]")
            options, words = words[2:end], [words[0], *words[end + 1 :]]
        entry = {"Types": "deb", "URIs": words[1], "Suites": words[2]}
        entry["Components"] = " ".join(words[3:])
        signed = [o.removeprefix("signed-by=") for o in options if o.startswith("signed-by=")]
        found.append(entry | ({"Signed-By": signed[0]} if signed else {}))
    return found


def backports(entries: list[dict[str, str]], release: str) -> str | None:
    """The sources entry for backports, made from the one that names the release itself."""
    for entry in entries:
        suites, types = entry.get("Suites", "").split(), entry.get("Types", "").split()
        if release in suites and "deb" in types and "main" in entry.get("Components", "").split():
            wanted = entry | {
                "Types": "deb",
                "Suites": f"{release}-backports",
                "Components": "main",
            }
            return "".join(f"{key}: {value}\n" for key, value in wanted.items())
    return None


def enable_backports(release: str) -> None:
    """Add backports to apt's sources, unless they are there."""
    entries: list[dict[str, str]] = []
    for file in sorted(SOURCES.glob("*.sources")):
        entries += stanzas(file.read_text())
    for file in [Path("/etc/apt/sources.list"), *sorted(SOURCES.glob("*.list"))]:
        entries += one_line_stanzas(file.read_text()) if file.exists() else []
    if any(f"{release}-backports" in entry.get("Suites", "").split() for entry in entries):
        return
    text = backports(entries, release)
    if text is None:
        fail(f"apt's sources do not name {release}; please enable {release}-backports by hand")
        return
    say(f"enabling {release}-backports")
    OURS.write_text(text)
    run("apt-get", "update", "-q", "-q")


def has_candidate(package: str) -> bool:
    """Whether apt could install a package."""
    return "Candidate: (none)" not in (shown := run("apt-cache", "policy", package)) and bool(shown)


def packages() -> tuple[str, ...]:
    """What is to be installed here, beside Incus."""
    return (*PACKAGES, *MACHINES, *(() if shutil.which(NPM) else (NPM,)))


def main() -> None:
    """Install what is missing."""
    if os.geteuid() != 0:
        fail(f"please install: {' '.join((*packages(), *INCUS))} (Debian's names), or run as root")
    release = codename()
    run("apt-get", "update", "-q", "-q")
    target: tuple[str, ...] = ()
    if not has_candidate("incus-base"):
        enable_backports(release)
    if release == "bookworm":
        target = ("--target-release", f"{release}-backports")
    say(f"installing {' '.join((*packages(), *INCUS))}")
    install = ("apt-get", "install", "-y", "-q", "-q", "--no-install-recommends")
    run(*install, *packages())
    run(*install, *target, *INCUS)


if __name__ == "__main__":
    main()
