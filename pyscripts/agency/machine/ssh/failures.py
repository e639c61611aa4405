"""Messages of ssh on a failed connection, as errors that say what to do."""

from __future__ import annotations

from collections.abc import Sequence

from agency.errors import PrerequisiteError

# In the order in which they are looked for: a changed key is also one that cannot be verified.
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        "HOST IDENTIFICATION HAS CHANGED",
        "the host's key differs from the known one",
        "reinstalled? compare the fingerprint on its console, then: ssh-keygen -R HOST",
    ),
    (
        "host key is known for",
        "the host's key is not known",
        "compare its fingerprint on its console, then accept it: connect once by hand with ssh",
    ),
    (
        "Host key verification failed",
        "the host's key cannot be verified",
        "connect once by hand with ssh and see what it says",
    ),
    (
        "Permission denied",
        "the host accepts none of the keys",
        "load the key into the agent (ssh-add), or name it: --ssh-option IdentityFile=FILE",
    ),
    (
        "Too many authentication failures",
        "the host accepts none of the keys that were tried",
        "name the right one: --ssh-option IdentityFile=FILE --ssh-option IdentitiesOnly=yes",
    ),
    (
        "Could not resolve hostname",
        "the host's name is not known",
        "check its spelling, and the name server",
    ),
)
_OTHER = "connect by hand with ssh and see what it says"
_MAX_LINE = 300
_THE_END = ("kex_exchange_identification:", "Connection closed by UNKNOWN", "banner exchange:")


def refused(destination: str, said: Sequence[str]) -> PrerequisiteError:
    """Make the error for a connection that failed; `said` are the lines of ssh."""
    lines = [line.strip() for line in said if line.strip()]
    # A jump host or ProxyCommand that knows the reason wrote it before ssh noticed the end.
    telling = [line for line in lines if not line.startswith(_THE_END)] or lines
    last = telling[-1][:_MAX_LINE] if telling else "ssh said nothing"
    for sign, message, hint in _KNOWN:
        if any(sign in line for line in lines):
            return PrerequisiteError(f"{message}: {last}", where=destination, hint=hint)
    return PrerequisiteError(f"cannot be reached: {last}", where=destination, hint=_OTHER)


def too_slow(destination: str, timeout_s: float) -> PrerequisiteError:
    """Make the error for a connection that was not made in time."""
    return PrerequisiteError(
        f"cannot be reached: no connection within {timeout_s:g} s",
        where=destination,
        hint="is it up, and does a firewall let you through?",
    )
