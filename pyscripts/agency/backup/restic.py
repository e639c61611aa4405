"""Client of restic: one call of the program each, its answers as values, its faults as errors.

The password travels by the name of its file. What else opens a repository is set in the environment
of restic alone.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agency.backup.settings import Retention
from agency.errors import BadInputError, InternalError, PrerequisiteError
from agency.programs import Bounds, Finished, ProgramError, find_program, run_to_end
from agency.secrets import names

HINT = "install restic (Debian: apt-get install restic)"
TAG = "agency"
OPEN_S = 120  # to open a repository, which a far one may take long for
_MIB = 1024**2
_BOUNDS = Bounds(output_bytes=64 * _MIB, error_bytes=16 * _MIB)
_MOST_UNREAD = 10_000
_NO_REPOSITORY, _WRONG_PASSWORD = 10, 12  # exit statuses of restic 0.17 and newer
_INCOMPLETE = 3
_ABSENT = re.compile(r"unable to open config file.*(no such file|not exist|not found)", re.I | re.S)
# S3 says of a wrong key, too, that it does not exist.
_REFUSED = re.compile(r"access key id", re.I)


class RepositoryError(PrerequisiteError):
    """A repository that cannot be used: not reached, not opened, or without room."""


class DamageError(BadInputError):
    """A repository whose content is not what was written."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot as restic lists it; `time` is in seconds since the epoch."""

    id: str
    time: float
    host: str
    tags: tuple[str, ...]
    paths: tuple[str, ...]

    @property
    def instance(self) -> str | None:
        """Name of the instance that it is of."""
        return self._tag("instance")

    @property
    def version(self) -> str | None:
        """Version of the agency that made it."""
        return self._tag("agency-version")

    def _tag(self, key: str) -> str | None:
        prefix = f"{key}:"
        found = (tag.removeprefix(prefix) for tag in self.tags if tag.startswith(prefix))
        return next(found, None)


@dataclass(frozen=True, slots=True)
class Summary:
    """Result of a backup: `unread` names files that restic could not read.

    An empty name stands for one that was not named, and for all beyond the most that are kept.
    """

    snapshot: str
    files: int
    size: int
    added: int
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository, and what opens it; `environment` may hold credentials."""

    location: str
    password_file: Path
    cache_dir: Path
    timeout_s: float
    path: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    ssh: tuple[str, ...] = ()

    def exists(self) -> bool:
        """Return whether there is a repository that this password opens; remove dead locks.

        A lock is dead if its process is gone; others stay.

        Raises:
            RepositoryError: the place cannot be reached, or the password is wrong.
        """
        here = self._here()
        if here is not None and not here.parent.is_dir():
            raise RepositoryError(
                "the directory above the repository does not exist",
                where=self.location,
                hint="is its disk mounted? else make the directory",
            )
        try:
            found = self._run("unlock", timeout=OPEN_S)
        except ProgramError as error:
            said = self._redacted(_retried(error.stderr.decode(errors="replace")))
            message = f"the repository does not answer: {error.message}{said and f': {said}'}"
            raise RepositoryError(message, where=self.location, hint=_REACH) from error
        if found.status == 0:
            return True
        if found.status == _NO_REPOSITORY or _says_absent(_said(found)):
            return False
        raise self._fault(found, _REACH)

    def _here(self) -> Path | None:
        return Path(self.location) if self.location.startswith("/") else None

    def initialise(self) -> None:
        """Make the repository."""
        self._done("init")

    def backup(self, paths: Sequence[Path], *, host: str, tags: Iterable[str]) -> Summary:
        """Make one snapshot of the paths.

        Raises:
            RepositoryError: the repository cannot be written. BadInputError: no snapshot was made.
        """
        log = _Log()
        options = [part for tag in tags for part in ("--tag", tag)]
        argv = ("backup", "--json", "--host", host, *options, "--", *map(str, paths))
        found = self._run(*argv, sink=log.take)
        log.finish(found.stderr)
        if found.status not in (0, _INCOMPLETE):
            raise self._fault(found, "look at the free space of the repository, and try again")
        if log.summary is None:
            raise BadInputError("restic made no snapshot", where=self.location)
        return Summary(
            str(log.summary["snapshot_id"]),
            int(log.summary["total_files_processed"]),
            int(log.summary["total_bytes_processed"]),
            int(log.summary["data_added"]),
            tuple(log.unread),
        )

    def snapshots(self) -> tuple[Snapshot, ...]:
        """List the agency's snapshots, oldest first."""
        found = self._done("snapshots", "--json", "--tag", TAG)
        listed = json.loads(found.stdout or b"null") or []
        return tuple(sorted(map(_snapshot, listed), key=lambda one: one.time))

    def forget(self, retention: Retention, *, host: str, tags: Iterable[str]) -> int:
        """Remove the snapshots of this host and these tags that retention does not keep.

        Returns:
            The number of those removed.
        """
        keep = {
            "daily": retention.daily,
            "weekly": retention.weekly,
            "monthly": retention.monthly,
        }
        kept = [
            part for name, count in keep.items() if count for part in (f"--keep-{name}", str(count))
        ]
        of = ("--host", host, "--tag", ",".join(tags), "--group-by", "")
        found = self._done("forget", "--json", *of, *kept)
        removed = sum(len(group.get("remove") or ()) for group in json.loads(found.stdout or b"[]"))
        if removed:
            self._done("prune")
        return removed

    def check(self, read_percent: int) -> None:
        """Check the structure, and read that share of the data.

        Raises:
            DamageError: something is missing or altered.
        """
        read = (f"--read-data-subset={read_percent}%",) if 0 < read_percent < 100 else ()
        whole = ("--read-data",) if read_percent >= 100 else ()
        found = self._run("check", *read, *whole)
        if found.status != 0:
            self._refuse_unopened(found)
            raise self._damage(found)

    def dump(self, snapshot: str, path: Path, sink: Callable[[bytes], None]) -> None:
        """Read one file of a snapshot into `sink`.

        Raises:
            DamageError: it is not there, or not as it was written.
        """
        found = self._run("dump", snapshot, str(path), sink=sink)
        if found.status != 0:
            self._refuse_unopened(found)
            raise self._damage(found)

    def restore(self, snapshot: str, target: Path) -> None:
        """Extract a whole snapshot below `target`; what is there already is written over.

        Raises:
            DamageError: a part is missing or altered.
        """
        found = self._run("restore", snapshot, "--target", str(target))
        if found.status != 0:
            self._refuse_unopened(found)
            if "no space left" in _said(found):
                raise self._fault(found, "free space, and run it again")
            raise self._damage(found)

    def _done(self, *argv: str) -> Finished:
        found = self._run(*argv)
        if found.status != 0:
            raise self._fault(found, _REACH)
        return found

    def _run(
        self,
        *argv: str,
        timeout: float | None = None,
        sink: Callable[[bytes], None] | None = None,
    ) -> Finished:
        # With us restic ends too, however we end: it would hold a lock, and work on.
        dies = (find_program("setpriv", hint="install util-linux"), "--pdeathsig", "KILL", "--")
        restic = find_program("restic", hint=HINT)
        ssh = ("-o", f"sftp.command={shlex.join(self.ssh)}") if self.ssh else ()
        return run_to_end(
            (*dies, restic, *ssh, *argv),
            timeout=timeout or self.timeout_s,
            env={
                "PATH": self.path,
                "LANG": "C",
                "HOME": str(self.cache_dir),
                "RESTIC_CACHE_DIR": str(self.cache_dir),
                "RESTIC_REPOSITORY": self.location,
                "RESTIC_PASSWORD_FILE": str(self.password_file),
                "RESTIC_PROGRESS_FPS": "0.1",
                **self.environment,
            },
            hint=HINT,
            bounds=_BOUNDS,
            sink=sink,
        )

    def _refuse_unopened(self, found: Finished) -> None:
        said = _said(found)
        if found.status in (_NO_REPOSITORY, _WRONG_PASSWORD) or "unable to open" in said:
            raise self._fault(found, _REACH)

    def _fault(self, found: Finished, hint: str) -> RepositoryError:
        said = _said(found)
        if found.status == _WRONG_PASSWORD or "wrong password" in said:
            return RepositoryError(
                "the password does not open the repository",
                where=self.location,
                hint="put the repository's own password in: "
                f"`agency secrets set {names.BACKUP_PASSWORD}`",
            )
        reason = self._redacted(_reason(said))
        return RepositoryError(f"restic failed: {reason}", where=self.location, hint=hint)

    def _damage(self, found: Finished) -> DamageError:
        reason = self._redacted(_reason(_said(found)))
        return DamageError(
            f"the repository is damaged: {reason}",
            where=self.location,
            hint="docs/backup-restore.md, 'A damaged repository'",
        )

    def _redacted(self, text: str) -> str:
        for value in self.environment.values():
            for form in (value, quote(value, safe="")):
                text = text.replace(form, "[redacted]") if form else text
        return text


_REACH = "check the address, the network and the credentials of the repository"


@dataclass(slots=True)
class _Log:
    """Messages of `restic backup --json`, read as they come."""

    summary: dict[str, Any] | None = None
    unread: list[str] = field(default_factory=list)
    _rest: bytes = b""

    def take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._read(line)

    def finish(self, errors: bytes) -> None:
        for line in (self._rest, *errors.split(b"\n")):
            self._read(line)

    def _read(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return
        kind = message.get("message_type") if isinstance(message, dict) else None
        if kind == "summary":
            self.summary = message
        elif kind == "error" and len(self.unread) <= _MOST_UNREAD:
            full = len(self.unread) == _MOST_UNREAD
            self.unread.append("" if full else str(message.get("item", "")))


def _said(found: Finished) -> str:
    return found.stderr.decode(errors="replace")


def _reason(said: str) -> str:
    """Return the line of restic's that says why."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("Fatal: ", "error"))]
    return (telling or lines or ["no message"])[0].removeprefix("Fatal: ")[:300]


def _says_absent(said: str) -> bool:
    """Return whether an older restic says that there is no repository; its status does not."""
    why = said.partition("Is there a repository at")[0]  # the address follows
    return bool(_ABSENT.search(why)) and not _REFUSED.search(why)


def _retried(said: str) -> str:
    """Return why restic tried again: it does so for longer than we wait, also when refused."""
    found = re.findall(r"returned error, retrying after [^:]+: (.+)", said)
    return str(found[-1])[:300] if found else ""


def _snapshot(listed: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        str(listed["id"]),
        _seconds(str(listed["time"])),
        str(listed["hostname"]),
        tuple(map(str, listed.get("tags") or ())),
        tuple(map(str, listed.get("paths") or ())),
    )


def _seconds(text: str) -> float:
    """Read Go's RFC 3339 time, with its nine digits of a second."""
    found = re.fullmatch(r"([0-9T:-]{19})(?:\.([0-9]+))?(Z|[+-][0-9]{2}:[0-9]{2})", text)
    if found is None:
        raise InternalError(f"restic gave the time {text[:40]!r}")
    moment, fraction, zone = found.groups()
    digits = (fraction or "0")[:6].ljust(6, "0")
    return datetime.fromisoformat(f"{moment}.{digits}{zone.replace('Z', '+00:00')}").timestamp()
