"""Finding programs: on PATH, else among what this checkout's set-up has built."""

from pathlib import Path

import pytest

from agency import programs
from agency.errors import PrerequisiteError


@pytest.fixture
def places(tmp_path, monkeypatch):
    found = []
    for name in ("path", "tools"):
        (tmp_path / name).mkdir()
        found.append(tmp_path / name)
    monkeypatch.setenv("PATH", str(found[0]))
    monkeypatch.setattr(programs, "_OF_CHECKOUT", found[1])
    return found


def put(place, name, mode=0o755):
    (place / name).write_text("#!/bin/sh\n")
    (place / name).chmod(mode)
    return str(place / name)


def test_what_set_up_has_built_is_found_without_a_path_to_it(places):
    path, tools = places
    built = put(tools, "sops")
    assert programs.find_program("sops", hint="x") == built
    assert programs.find_program("sops", hint="x") != put(path, "sops")
    assert programs.find_program("sops", hint="x") == str(path / "sops"), "PATH comes first"


def test_what_is_nowhere_is_refused(places):
    put(places[1], "sops", 0o644)
    with pytest.raises(PrerequisiteError, match="'sops' is not installed"):
        programs.find_program("sops", hint="get it")


def test_set_up_builds_into_the_place_that_is_looked_at():
    checkout = Path(__file__).resolve().parents[3]
    assert checkout / ".tools" / "bin" == programs._OF_CHECKOUT
