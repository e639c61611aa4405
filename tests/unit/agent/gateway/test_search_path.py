"""Programs of tool servers are found also by a gateway whose unit has a short PATH."""

from __future__ import annotations

import shutil
from pathlib import Path

from agency.agent.gateway.servers.servers import search_path


def test_agency_itself_is_found_where_the_path_does_not_have_it(tmp_path: Path) -> None:
    assert shutil.which("agency", path=str(tmp_path)) is None
    assert shutil.which("agency", path=search_path(str(tmp_path))) is not None


def test_what_the_machine_has_comes_first(tmp_path: Path) -> None:
    own = tmp_path / "agency"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert shutil.which("agency", path=search_path(str(tmp_path))) == str(own)
