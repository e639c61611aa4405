"""The state of a local agency is told where it can be, and ends nothing where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency.errors import AgencyError
from agency.spinup.targets.local import place
from agency.spinup.targets.local.keep import Board
from agency.spinup.targets.local.place import LocalState, ServiceState

SERVICE = ServiceState(name="control", since="then", log=Path("log"))
STATE = LocalState(
    pid=1,
    started_at="then",
    instance="i",
    instance_file=Path("i"),
    domain="x.org",
    homeserver="h",
    control="c",
    control_room="#r:x.org",
    operator="@alice:x.org",
    login_file=Path("l"),
    password_file=Path("p"),
    hs_token_file=Path("t"),
    logs=Path("logs"),
    ports={},
    services=(SERVICE,),
)


def test_full_disk_ends_no_service(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "agency"
    board = Board(directory, STATE, str)
    with pytest.raises(AgencyError):  # at the start it is told
        board.write()
    board.note("control", running=True)
    board.change(problem="nobody could be logged in")
    assert "cannot tell how the local agency is" in caplog.text
    directory.mkdir()
    board.note("control", failures=2)
    told = place.read_state(directory)
    assert told is not None
    assert told.problem == "nobody could be logged in"
    assert (told.services[0].running, told.services[0].failures) == (True, 2)
