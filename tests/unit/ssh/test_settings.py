"""What ssh is told, and what nobody may tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency.errors import PrerequisiteError, UsageError
from agency.machine.ssh import settings

SOCKET = Path("/run/x/s")


def values(text: str) -> dict[str, str]:
    """What ssh_config(5) makes of it: the first value of a keyword counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword.lower(), value)
    return found


def test_the_callers_options_come_before_the_users_own_and_after_ours() -> None:
    text = settings.connection(settings.read_options(["port=22 "]), SOCKET, 2.5)
    lines = text.splitlines()
    ours, theirs = lines.index("StrictHostKeyChecking yes"), lines.index("Port 22")
    assert ours < theirs < lines.index("Include ~/.ssh/config")
    assert "ConnectTimeout 3" in lines


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StrictHostKeyChecking", "yes"),
        ("BatchMode", "yes"),
        ("NoHostAuthenticationForLocalhost", "no"),
        ("VerifyHostKeyDNS", "no"),
        ("ForwardAgent", "no"),
        ("PermitLocalCommand", "no"),
        ("ControlPersist", "no"),
        ("UpdateHostKeys", "no"),
    ],
)
def test_it_is_settled_before_the_users_own_configuration(keyword: str, value: str) -> None:
    text = settings.connection((), SOCKET, 1)
    assert values(text.partition("Include")[0])[keyword.lower()] == value


def test_a_passenger_cannot_connect_by_itself() -> None:
    found = values(settings.passenger(SOCKET))
    assert found["proxycommand"] == "exec false"
    assert found["controlmaster"] == "no"
    assert "include" not in found


@pytest.mark.parametrize(
    "text",
    [
        *("StrictHostKeyChecking=no", "stricthostkeychecking=no", "BatchMode=no", "ControlPath=/x"),
        *("LocalCommand=id", "Port", "Port=", "Port= ", "Port=22\nStrictHostKeyChecking no", "=1"),
    ],
)
def test_other_options_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        settings.read_options([text])


@pytest.mark.parametrize("text", ["host", "root@host", "root@192.0.2.1", "root@2001:db8::1", "a_b"])
def test_a_host_is_taken_as_it_is(text: str) -> None:
    assert settings.check_destination(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "-oProxyCommand=id", "root@-x", "ssh://host", "a b", "root@", "@host", "h\n", "h;x"],
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a host"):
        settings.check_destination(text)


def test_a_path_that_is_too_long_for_a_socket_is_refused() -> None:
    assert settings.socket_in(Path("/" + "x" * 80))
    with pytest.raises(PrerequisiteError, match="too long") as caught:
        settings.socket_in(Path("/" + "x" * 90))
    assert "XDG_STATE_HOME" in (caught.value.hint or "")


def test_a_path_is_not_read_as_tokens() -> None:
    text = settings.passenger(Path('/run/100%u "x"/s'))
    assert r'ControlPath "/run/100%%u \"x\"/s"' in text
