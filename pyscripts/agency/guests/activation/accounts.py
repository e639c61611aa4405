"""Users and directories: systemd-sysusers and systemd-tmpfiles make them from exported lines.

Both leave alone what is there already, so what was changed by hand is put right here.
"""

from __future__ import annotations

import grp
import pwd
import shlex
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agency.errors import BadInputError
from agency.guests.activation.changes import Change
from agency.programs import run_program

SYSUSERS = "usr/lib/sysusers.d/"
TMPFILES = "usr/lib/tmpfiles.d/"
LOCKED = "!*"
_TIMEOUT_S = 60
_OURS = ("agent-", "agency-")
_SHADOW = Path("/etc/shadow")


@dataclass(frozen=True, slots=True)
class User:
    """A user of ours as it is to be."""

    name: str
    uid: int
    group: str
    home: str
    shell: str


@dataclass(frozen=True, slots=True)
class SeenUser:
    """A user as it is; `locked` when no password lets it in."""

    uid: int
    group: str
    home: str
    shell: str
    groups: tuple[str, ...]
    locked: bool


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory as it is to be."""

    path: str
    mode: int
    user: str
    group: str


def wanted_users(texts: Mapping[str, str]) -> list[User]:
    """Our own users among the `u` lines of sysusers.d(5)."""
    users = []
    for text in _texts(texts, SYSUSERS):
        for kind, name, identity, _, home, shell in _fields(text, 6):
            if kind == "u" and name.startswith(_OURS):
                uid, _, group = identity.partition(":")
                users.append(User(name, int(uid), group, "/" if home == "-" else home, shell))
    return users


def wanted_directories(texts: Mapping[str, str]) -> list[Directory]:
    """Read the `d` lines of tmpfiles.d(5)."""
    return [
        Directory(path, int(mode, 8), user, group)
        for text in _texts(texts, TMPFILES)
        for kind, path, mode, user, group in _fields(text, 5)
        if kind == "d"
    ]


def _texts(texts: Mapping[str, str], place: str) -> Iterable[str]:
    return (text for path, text in sorted(texts.items()) if path.startswith(place))


def _fields(text: str, count: int) -> Iterable[list[str]]:
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if len(words) >= count:
            yield words[:count]


def see_user(name: str) -> SeenUser | None:
    """Look up a user as it is, or None."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    groups = tuple(sorted(group.gr_name for group in grp.getgrall() if name in group.gr_mem))
    return SeenUser(
        entry.pw_uid,
        grp.getgrgid(entry.pw_gid).gr_name,
        entry.pw_dir,
        entry.pw_shell,
        groups,
        locked=_is_locked(name),
    )


def _is_locked(name: str) -> bool:
    for line in _SHADOW.read_text().splitlines():
        user, password = line.split(":")[:2]
        if user == name:
            return password.startswith(("!", "*"))
    return True


def user_change(user: User, seen: SeenUser | None) -> tuple[Change, tuple[str, ...]] | None:
    """Compare a user; return the difference and usermod's words, none if sysusers makes it.

    Raises:
        BadInputError: its uid is another, which nothing here can change safely.
    """
    if seen is None:
        return Change("user", user.name, "absent", str(user.uid)), ()
    if seen.uid != user.uid:
        raise BadInputError(
            f"has uid {seen.uid}, and is to have {user.uid}: its files would be another's",
            where=f"user {user.name}",
            hint="look at whose it is; remove it, or give the agent its uid in instance.yaml",
        )
    pairs = (
        ("group", seen.group, user.group, ("--gid", user.group)),
        ("home", seen.home, user.home, ("--home", user.home)),
        ("shell", seen.shell, user.shell, ("--shell", user.shell)),
        ("groups", ",".join(seen.groups), "", ("--groups", "")),
        ("password", "locked" if seen.locked else "set", "locked", ("--password", LOCKED)),
    )
    wrong = [pair for pair in pairs if pair[1] != pair[2]]
    if not wrong:
        return None
    before = ", ".join(f"{what} {is_now or 'none'}" for what, is_now, _, _ in wrong)
    after = ", ".join(f"{what} {wanted or 'none'}" for what, _, wanted, _ in wrong)
    words = tuple(word for pair in wrong for word in pair[3])
    return Change("user", user.name, before, after), words


def directory_change(directory: Directory) -> Change | None:
    """Compare a directory with what is at its place."""
    wanted = f"{directory.mode:04o} {directory.user}:{directory.group}"
    path = Path(directory.path)
    try:
        status = path.lstat()
    except FileNotFoundError:
        return Change("directory", directory.path, "absent", wanted)
    if not stat.S_ISDIR(status.st_mode):
        raise BadInputError(
            "something that is no directory is in its place",
            where=directory.path,
            hint="look at what it is, and move it away",
        )
    owner, group = _name_of(status.st_uid, pwd.getpwuid), _name_of(status.st_gid, grp.getgrgid)
    seen = f"{stat.S_IMODE(status.st_mode):04o} {owner}:{group}"
    return None if seen == wanted else Change("directory", directory.path, seen, wanted)


def _name_of(number: int, look: object) -> str:
    try:
        return str(look(number)[0])  # type: ignore[operator]  # the first field of both is the name
    except KeyError:
        return str(number)


def converge_users(texts: Mapping[str, str]) -> list[Change]:
    """Make missing users, and put right what differs of ours."""
    changes = _user_changes(texts)
    run_program(["/usr/bin/systemd-sysusers"], timeout=_TIMEOUT_S)
    for change, words in changes:
        if words:
            run_program(["/usr/sbin/usermod", *words, change.what], timeout=_TIMEOUT_S)
    return [change for change, _ in changes]


def _user_changes(texts: Mapping[str, str]) -> list[tuple[Change, tuple[str, ...]]]:
    found = (user_change(user, see_user(user.name)) for user in wanted_users(texts))
    return [one for one in found if one is not None]


def user_differences(texts: Mapping[str, str]) -> list[Change]:
    """Compare our users with those of this machine; change nothing."""
    return [change for change, _ in _user_changes(texts)]


def directory_differences(texts: Mapping[str, str]) -> list[Change]:
    """Compare the directories with those of this machine; change nothing."""
    found = (directory_change(directory) for directory in wanted_directories(texts))
    return [one for one in found if one is not None]


def converge_directories(texts: Mapping[str, str]) -> list[Change]:
    """Make missing directories, and put right whose they are and their modes."""
    changes = directory_differences(texts)
    names = [path.removeprefix(TMPFILES) for path in sorted(texts) if path.startswith(TMPFILES)]
    run_program(["/usr/bin/systemd-tmpfiles", "--create", *names], timeout=_TIMEOUT_S)
    return changes
