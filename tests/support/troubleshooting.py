"""The page docs/troubleshooting.md, as the tests read it: rows, and the commands in them."""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
OURS = ("agency", "spinup_smoke", "make")
# Of the system. What is read of a program's command line differs: `systemctl` names units.
SYSTEMS = (
    *("df", "docker", "free", "git", "journalctl", "ls", "nft", "nix-collect-garbage"),
    *("nixos-rebuild", "ss", "systemctl", "systemd-cgtop"),
)
# What a reader fills in, and what it stands for where a command is tried.
FILLED = {
    "NAME": "pm",
    "TRACE-ID": "0" * 32,
    "FILE": "/dev/null",
    "DIRECTORY": "/tmp",
    "PORT": "18008",
}
_SPAN = re.compile(r"`([^`]+)`")
_UNIT_VERBS = ("start", "stop", "restart", "status")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the page's tables."""

    symptom: str
    cause: str
    remedy: str

    def commands(self) -> list[str]:
        """Return what can be typed, of all its cells."""
        spans = _SPAN.findall(f"{self.symptom} {self.cause} {self.remedy}")
        return [one for one in spans if is_command(one)]


def is_command(span: str) -> bool:
    """Return whether a piece of code is a command line: of a known program, with arguments."""
    first, _, rest = span.partition(" ")
    return span.startswith("!") or (first in (*OURS, *SYSTEMS) and bool(rest or first == "agency"))


def read_rows(text: str) -> list[Row]:
    """Read the rows of every table."""
    rows = []
    for line in text.splitlines():
        cells = [one.strip() for one in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0] != "symptom" and len(cells) == 3:
            rows.append(Row(*cells))
    return rows


def filled(command: str) -> list[str]:
    """Return a command's words, with the reader's words filled in."""
    for word, value in FILLED.items():
        command = re.sub(rf"(?<![\w-]){word}(?![\w-])", value, command)
    return shlex.split(command)


def units(words: list[str]) -> list[str]:
    """Return the units that a command line of systemd names, with their suffix."""
    if words[0] == "systemctl" and words[1] in _UNIT_VERBS:
        named = words[2:]
    elif words[0] == "journalctl":
        named = [after for word, after in itertools.pairwise(words) if word == "-u"]
    else:
        named = []
    return [one if one.endswith((".socket", ".timer")) else f"{one}.service" for one in named]


# In a guest of Debian: what it has neither the program nor the unit for is left out, by name.
_NOT_IN_A_GUEST = (
    *("docker", "git", "make", "nix-collect-garbage", "nixos-rebuild", "spinup_smoke"),
    *("agency activate", "agency check", "agency doctor", "agency down", "agency guest"),
    *("agency reconcile", "agency render", "agency room", "agency sandbox", "agency secrets"),
    *("agency status", "agency transcript", "agency up", "!"),
)
_NO_SUCH_UNIT = ("docker", "gitlab", "nginx", "sops-install-secrets", "agency-reconcile-")
# Its exit status says that a unit does not run, or that nothing is recorded: an answer as well.
# A search of the log that finds nothing is 1.
_MAY_FAIL = ("journalctl -k -g", "agency command trace", "agency command warnings acknowledge")


def tried_in_a_guest(commands: list[str]) -> list[str]:
    """Return the commands of a host that a guest has the programs and the units for."""
    tried = []
    for command in commands:
        named = units(filled(command))
        absent = any(unit.startswith(_NO_SUCH_UNIT) for unit in named)
        if not command.startswith((*_NOT_IN_A_GUEST, *_MAY_FAIL)) and not absent:
            tried.append(command)
    # What stops the control plane comes last.
    return sorted(
        tried,
        key=lambda one: (
            one.startswith(("systemctl restart", "systemctl stop")),
            "restart" not in one,
            one,
        ),
    )


def guest_script(commands: list[str]) -> str:
    """Return a shell script that runs them and prints `status<TAB>command` for each."""
    lines = []
    for command in commands:
        words = " ".join(map(shlex.quote, filled(command)))
        limit = 1 if " -f " in command else 20  # one that follows a log has no end
        lines.append(f"PATH=/opt/agency/bin:$PATH timeout {limit} {words} >/tmp/said 2>&1; s=$?")
        lines.append(f"printf '%s\\t%s\\n' $s {shlex.quote(command)}; [ $s = 0 ] || cat /tmp/said")
    return "\n".join(lines)
