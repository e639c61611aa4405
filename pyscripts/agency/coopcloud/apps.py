"""abra for one app of a run: a state directory of its own, and every command bounded and logged.

abra's exit status is not believed alone: callers look at the swarm afterwards. Where the words of
a command were learnt, and how surely, says docs/abra-assumptions.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agency.coopcloud.abra import SERVER, abra_environment
from agency.errors import AgencyError
from agency.programs import Bounds, Finished, ProgramError, run_program, run_to_end

_QUICK_S = 60.0
_MIB = 1024**2
_BOUNDS = Bounds(output_bytes=_MIB, error_bytes=4 * _MIB)
_DEPLOY = ("--force", "--offline", "--no-input", "--no-domain-checks")


class AbraError(AgencyError):
    """A command of abra that failed, or that took too long."""


class Log(Protocol):
    """Sink of what abra says; it keeps secrets out."""

    def write(self, chunk: bytes) -> None:
        """Take a chunk of output."""

    def clean(self, text: str) -> str:
        """Return text without secrets."""


@dataclass(frozen=True, slots=True)
class AbraHome:
    """abra with the state directory `place`, for the app at `domain`.

    `marker` is put into the environment of abra and its children (`agency.children`). `timed` is
    entered while abra runs.
    """

    program: str
    place: Path
    domain: str
    docker_url: str | None
    marker: Mapping[str, str]
    timeout_s: float
    timed: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def environment_file(self) -> Path:
        """The app's `.env`."""
        return self.place / "abra" / "servers" / SERVER / f"{self.domain}.env"

    def recipe(self, name: str) -> Path:
        """Return the directory of a recipe's checkout."""
        return self.place / "abra" / "recipes" / name

    def prepare(self) -> None:
        """Make the directories that abra expects."""
        for name in ("servers/" + SERVER, "recipes", "catalogue"):
            (self.place / "abra" / name).mkdir(parents=True, exist_ok=True)

    def version(self) -> str:
        """Return what abra says of its version; it is on record with every result.

        Raises:
            ProgramError: it does not say one.
        """
        with self.timed():
            said = run_program(
                [self.program, "--version"],
                timeout=_QUICK_S,
                env=abra_environment(self.place, self.docker_url),
            )
        return said.decode(errors="replace").strip()[:200]

    def new(self, recipe: str, log: Log) -> None:
        """Create the app."""
        words = ("app", "new", recipe, "--server", SERVER, "--domain", self.domain)
        self._run((*words, "--offline", "--no-input"), log, _QUICK_S)

    def generate_secrets(self, log: Log) -> dict[str, str]:
        """Generate the app's missing secrets; return the values that were made, by name.

        The values are secret, and nothing of the command's output is logged.

        Raises:
            AbraError: abra failed, or what it printed cannot be read, so nothing could be redacted.
        """
        words = ("app", "secret", "generate", self.domain, "--all", "--machine", "--no-input")
        finished = self._finish((*words, "--offline"), log, _QUICK_S, quiet=True)
        if finished.status != 0:
            raise AbraError(
                f"exit status {finished.status}; its output may hold secrets and is not shown",
                where="abra app secret generate",
            )
        return _generated(finished.stdout)

    def deploy(self, log: Log, version: str | None = None) -> None:
        """Deploy a published version, or the checkout as it is; deploy again what is deployed."""
        which = ("--chaos",) if version is None else (version,)
        self._run(("app", "deploy", self.domain, *which, *_DEPLOY), log, self.timeout_s)

    def undeploy(self, log: Log) -> None:
        """Remove the services; volumes and secrets stay. It takes no `--chaos`."""
        self._run(("app", "undeploy", self.domain, "--no-input"), log, self.timeout_s)

    def remove_volumes(self, log: Log) -> None:
        """Remove the volumes of the undeployed app. It takes no `--chaos`."""
        words = ("app", "volume", "remove", self.domain, "--force", "--no-input")
        self._run(words, log, _QUICK_S)

    def remove_secrets(self, log: Log) -> None:
        """Remove the secrets of the undeployed app."""
        words = ("app", "secret", "remove", self.domain, "--all", "--no-input")
        self._run(words, log, _QUICK_S)

    def back_up(self, log: Log) -> None:
        """Take a backup of the deployed app."""
        self._run(("app", "backup", "create", self.domain), log, self.timeout_s, terminal=True)

    def restore(self, log: Log) -> None:
        """Restore the latest backup into the deployed app."""
        self._run(("app", "restore", self.domain), log, self.timeout_s, terminal=True)

    def _run(
        self, words: Sequence[str], log: Log, timeout_s: float, *, terminal: bool = False
    ) -> None:
        finished = self._finish(words, log, timeout_s, terminal=terminal)
        if finished.status != 0:
            raise AbraError(
                f"exit status {finished.status}: {log.clean(finished.reason)}",
                where=f"abra {' '.join(words[:3])}",
                hint="read the log of the stage",
            )

    def _finish(
        self,
        words: Sequence[str],
        log: Log,
        timeout_s: float,
        *,
        quiet: bool = False,
        terminal: bool = False,
    ) -> Finished:
        log.write(f"$ abra {' '.join(words)}\n".encode())
        # Some commands of abra refuse to run without a terminal.
        prefix = (sys.executable, "-m", "agency.coopcloud.on_terminal") if terminal else ()
        try:
            with self.timed():
                finished = run_to_end(
                    [*prefix, self.program, *words],
                    timeout=timeout_s,
                    env={**abra_environment(self.place, self.docker_url), **self.marker},
                    cwd=self.place,
                    bounds=_BOUNDS,
                    sink=None if quiet else log.write,
                )
        except ProgramError as error:
            log.write(b"" if quiet else error.stderr)
            raise AbraError(
                error.message, where=f"abra {' '.join(words[:3])}", hint="read the log of the stage"
            ) from error
        log.write(b"" if quiet else finished.stderr)
        return finished


def _generated(output: bytes) -> dict[str, str]:
    """Read the list of `{"name": ..., "value": ...}` that `secret generate --machine` prints."""
    unreadable = AbraError(
        "its output cannot be read, so the secrets could not be kept out of the logs",
        where="abra app secret generate",
        hint="see docs/abra-assumptions.md",
    )
    if not output.strip():
        return {}
    try:
        rows = json.loads(output)
    except ValueError:
        raise unreadable from None
    if not isinstance(rows, list):
        raise unreadable
    found = {}
    for row in rows:
        folded = {str(k).lower(): v for k, v in row.items()} if isinstance(row, dict) else {}
        name, value = folded.get("name"), folded.get("value")
        if not isinstance(name, str) or not isinstance(value, str):
            raise unreadable
        found[name] = value
    return found
