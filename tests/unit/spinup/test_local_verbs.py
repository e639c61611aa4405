"""Words and decisions of `agency status` and the supervision, without a running agency."""

import io
from pathlib import Path

import click
import pytest
from rich.console import Console

from agency.errors import BadInputError
from agency.spinup.options import pinned_ports
from agency.spinup.targets.local import commands, keep, place, verbs


def state(**changes: object) -> place.LocalState:
    values: dict[str, object] = {
        "pid": 1,
        "started_at": "2026-01-01T00:00:00.000Z",
        "instance": "[/x] [bold]i[/bold]",
        "instance_file": Path("/i"),
        "domain": "d.example",
        "homeserver": "http://127.0.0.1:1",
        "control": "http://127.0.0.1:2",
        "control_room": "#control:d.example",
        "operator": "@a:d.example",
        "login_file": Path("/l"),
        "password_file": Path("/p[/y]"),
        "hs_token_file": Path("/t"),
        "logs": Path("/[link=evil]logs"),
        "ports": {},
        **changes,
    }
    return place.LocalState.model_validate(values)


def shown(status: verbs.Status) -> str:
    out = io.StringIO()
    commands._describe(Console(file=out, width=200), status)
    return out.getvalue()


def test_names_and_paths_are_shown_as_they_are():
    text = shown(verbs.Status(True, False, state(), ("a [/reason]",), ("[b]w",)))
    for part in ("[/x] [bold]i[/bold]", "/p[/y]", "/[link=evil]logs", "a [/reason]", "[b]w"):
        assert part in text
    assert "since" not in text, "it is not known since when it is not ready"
    kept = shown(verbs.Status(False, False, None, kept=Path("/s/[/x]/up-1")))
    assert "/s/[/x]/up-1" in kept


def test_features_that_are_for_hosts_are_told_by_agent():
    told = shown(verbs.Status(True, True, state(only_on_hosts={"pm": ("workspace", "taskLoop")})))
    (line,) = [line for line in told.splitlines() if "taskLoop" in line]
    assert "pm: workspace, taskLoop: units of a host, which do not run here" in line
    assert "docs/workspace.md" in line
    assert "units of a host" not in shown(verbs.Status(True, True, state()))


def test_a_service_that_fails_is_started_after_longer_and_longer():
    assert [keep.wait_s(n) for n in range(1, 9)] == [0, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("homeserver=8000", "control=8000"), "port 8000 is given to homeserver and to control"),
        (("control=8000", "control=8001"), "control is given twice: 8000 and 8001"),
    ],
)
def test_a_port_that_is_given_twice(values, said):
    with pytest.raises(click.BadParameter, match=said):
        pinned_ports(None, None, values)
    assert pinned_ports(None, None, ("homeserver=8000", "control=8001")) == {
        "homeserver": 8000,
        "control": 8001,
    }


def test_a_lock_names_its_holder_and_no_other_process(tmp_path, monkeypatch):
    import os

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    lock = place.take_lock()
    assert place.take_lock() is None
    assert place.supervisor() is None
    lock.names(os.getpid())
    assert place.supervisor() == os.getpid()
    file = place.base_dir() / "agency.lock"
    file.write_text(file.read_text().replace('"start": ', '"start": 1'))
    assert place.supervisor() is None, "the pid was given to another process"
    lock.release()
    assert not place.is_running()


def test_what_was_kept_of_another_domain_is_refused_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    directory, known = place.open_directory("d.example")
    assert known is None
    place.write_state(directory.path, state())
    directory.release()
    with pytest.raises(BadInputError, match=r"of d\.example, not of e\.example") as caught:
        place.open_directory("e.example")
    assert "agency down" in caught.value.hint
    again, known = place.open_directory("d.example")
    assert again.path == directory.path
    assert known == state()
    again.release()
