"""What ssh says, as an error that tells what to do."""

from __future__ import annotations

import pytest

from agency.machine.ssh import failures

CHANGED = (
    "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @",
    "Offending ED25519 key in /root/.ssh/known_hosts:1",
    "Host key for host has changed and you have requested strict checking.",
    "Host key verification failed.",
)


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (CHANGED, "differs from the known one", "ssh-keygen -R"),
        (
            (
                "No ED25519 host key is known for host and you have requested strict checking.",
                "Host key verification failed.",
            ),
            "key is not known",
            "fingerprint",
        ),
        (("root@host: Permission denied (publickey).",), "none of the keys", "ssh-add"),
        (("ssh: Could not resolve hostname host: Name or service not known",), "name", "spelling"),
        (("ssh: connect to host h port 22: No route to host",), "No route", "by hand"),
        (("",), "said nothing", "by hand"),
        ((), "said nothing", "by hand"),
    ],
)
def test_it_says_what_is_wrong(said: tuple[str, ...], message: str, hint: str) -> None:
    error = failures.refused("root@host", said)
    assert message in error.message
    assert hint in (error.hint or "")
    assert (error.where, int(error.exit_code)) == ("root@host", 3)


def test_who_knows_the_reason_is_quoted() -> None:
    said = (
        "Error: Instance not found",
        "kex_exchange_identification: Connection closed by remote host",
        "Connection closed by UNKNOWN port 65535",
    )
    assert failures.refused("host", said).message.endswith("Error: Instance not found")
    assert failures.refused("host", said[1:]).message.endswith("UNKNOWN port 65535")
