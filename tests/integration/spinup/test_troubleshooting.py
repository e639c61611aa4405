"""Commands of docs/troubleshooting.md on a running local agency, as a person would type them."""

from __future__ import annotations

from troubleshooting import PAGE, filled, read_rows

COMMANDS = sorted({command for row in read_rows(PAGE.read_text()) for command in row.commands()})
# Without a trace or a warning of that name: refused by the control plane, with the reason.
REFUSED = {"!agency warnings acknowledge", "!agency trace", "agency command trace"}
OF_ROOM = ("!agency ",)
PAST_IT = ("agency command ",)
LOOKS = ("agency status", "agency doctor", "agency room ping", "agency up", "agency down --yes")


def test_its_commands_do_what_it_says_on_a_running_agency(agency) -> None:
    started = agency("up", "--json")
    try:
        assert started.returncode == 0, started.stderr
        told = [_said(agency, one) for one in COMMANDS if one.startswith((*OF_ROOM, *PAST_IT))]
        assert len(told) > 15
        assert [one for one in told if one is not None] == []
        assert [one for one in LOOKS if agency(*one.split()[1:]).returncode != 0] == []
        assert agency("status").returncode == 1, "the last of them removed it"
    finally:
        agency("down")


def _said(agency, command: str) -> str | None:
    """Say it; returns what went otherwise than the page lets one expect."""
    words = filled(command)
    argv = ["room", *words[1:]] if words[0] == "!agency" else words[1:]
    done = agency(*argv)
    if any(command.startswith(one) for one in REFUSED):
        return None if done.returncode == 1 and done.stdout else f"{command}: {done}"
    return None if done.returncode == 0 else f"{command}: {done.stdout}{done.stderr}"
