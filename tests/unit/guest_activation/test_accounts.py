"""Users and directories as the exported lines say."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from agency.errors import BadInputError
from agency.guests.activation.accounts import (
    Directory,
    SeenUser,
    User,
    directory_change,
    user_change,
    wanted_directories,
    wanted_users,
)

SHELL = "/usr/sbin/nologin"
TEXTS = {
    "usr/lib/sysusers.d/agency.conf": "g agents 3999\n"
    'u agency-control 3998:agency-control "Control plane" - /usr/sbin/nologin\n'
    'u postgres 71:postgres "PostgreSQL server user" - /usr/sbin/nologin\n',
    "usr/lib/sysusers.d/agency-pm.conf": "# a comment\n"
    'u agent-pm 4001:agents "Agent pm" /home/agent-pm /usr/sbin/nologin\n',
    "usr/lib/tmpfiles.d/agency-pm.conf": "d /home/agent-pm 0700 agent-pm agents - -\n",
    "etc/agency/x": "d /not/this 0700 root root - -\nu agent-no 1:1 x - -\n",
}
PM = User("agent-pm", 4001, "agents", "/home/agent-pm", SHELL)
SEEN = SeenUser(4001, "agents", "/home/agent-pm", SHELL, (), locked=True)


def test_only_our_own_users_are_watched() -> None:
    assert wanted_users(TEXTS) == [PM, User("agency-control", 3998, "agency-control", "/", SHELL)]


def test_directories_are_read() -> None:
    assert wanted_directories(TEXTS) == [Directory("/home/agent-pm", 0o700, "agent-pm", "agents")]


def test_a_user_as_wanted_is_left_alone() -> None:
    assert user_change(PM, SEEN) is None


def test_a_missing_user_is_made_by_sysusers() -> None:
    found = user_change(PM, None)
    assert found is not None
    assert found[1] == ()


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (replace(SEEN, shell="/bin/bash"), ("--shell", SHELL)),
        (replace(SEEN, home="/root"), ("--home", "/home/agent-pm")),
        (replace(SEEN, group="sudo"), ("--gid", "agents")),
        (replace(SEEN, groups=("docker", "sudo")), ("--groups", "")),
        (replace(SEEN, locked=False), ("--password", "!*")),
    ],
)
def test_each_drift_of_a_user_is_put_right(seen: SeenUser, words: tuple[str, ...]) -> None:
    found = user_change(PM, seen)
    assert found is not None
    assert found[1] == words


def test_another_uid_is_refused() -> None:
    with pytest.raises(BadInputError, match="has uid 5000"):
        user_change(PM, replace(SEEN, uid=5000))


def test_a_directory_is_compared(tmp_path: Path) -> None:
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    place = tmp_path / "home"
    wanted = Directory(str(place), 0o700, user, group)
    missing = directory_change(wanted)
    assert missing is not None
    assert missing.before == "absent"
    place.mkdir(mode=0o700)
    assert directory_change(wanted) is None
    place.chmod(0o755)
    opened = directory_change(wanted)
    assert opened is not None
    assert opened.before == f"0755 {user}:{group}"


def test_a_link_in_the_place_of_a_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "home").symlink_to("/etc")
    with pytest.raises(BadInputError, match="no directory"):
        directory_change(Directory(str(tmp_path / "home"), 0o700, "root", "root"))
