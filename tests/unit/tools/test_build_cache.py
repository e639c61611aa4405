"""What set-up builds is kept once for each user, whole, whoever builds at the same time."""

import os
import subprocess
import sys
from pathlib import Path

import build_cache
import pytest
from build_cache import Build, find, take

TOOLS = Path(build_cache.__file__).parent
BUILD = Build("prog", "v1", "a moment")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "agency"


@pytest.fixture
def made(tmp_path):
    """Take a program; `made.count` says how often it was built."""

    class Made:
        count = 0

        def __call__(self, build=BUILD):
            take(build, tmp_path / "bin" / "prog", self.make)
            return (tmp_path / "bin" / "prog").read_text()

        def make(self, place):
            Made.count += 1
            (place / "prog").write_text("whole")

    return Made()


def entries(cache):
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


def test_it_is_built_once_and_said_how_long_it_takes(cache, made, capsys):
    assert [made(), made()] == ["whole", "whole"]
    assert made.count == 1
    before, after, kept = capsys.readouterr().out.splitlines()
    assert "a moment" in before
    assert "built prog v1 in 0 s" in after
    assert str(cache) in kept


def test_an_entry_is_named_by_version_and_checksum(cache, made):
    made()
    (name,) = entries(cache)
    assert name == f"{BUILD.key}-{build_cache.digest(cache / name)}"
    assert cache.stat().st_mode & 0o777 == 0o700
    assert find(Build("prog", "v2", ""), cache) is None


def test_another_version_is_another_entry(cache, made):
    made()
    made(Build("prog", "v2", ""))
    assert made.count == 2
    assert len(entries(cache)) == 2


@pytest.mark.parametrize("damage", ["", "whol", "whole and more"])
def test_a_damaged_entry_is_built_anew(cache, made, damage, capsys):
    made()
    (name,) = entries(cache)
    (cache / name).write_text(damage)
    assert find(BUILD, cache) is None
    assert made() == "whole"
    assert made.count == 2
    assert entries(cache) == [name]
    assert f"{cache / name} is damaged" in capsys.readouterr().out


def test_a_build_that_fails_leaves_nothing(cache, made, monkeypatch):
    with pytest.raises(SystemExit):
        take(BUILD, cache / "target", lambda place: None)
    assert entries(cache) == []
    assert made() == "whole"


def test_what_a_killed_build_left_is_removed(cache, made):
    left = cache / f".making-{BUILD.key}-x"
    left.mkdir(parents=True, mode=0o700)
    cache.chmod(0o700)
    (left / "prog").write_text("half")
    made()
    assert not left.exists()


SET_UP = """
import sys, time
from pathlib import Path
from build_cache import Build, take
def make(place):
    with open(sys.argv[1], "a") as log:
        log.write("built\\n")
    time.sleep(0.5)
    (place / "prog").write_text("whole")
take(Build("prog", "v1", "a moment"), Path(sys.argv[2]), make)
"""


def test_set_ups_at_the_same_time_build_it_once(cache, tmp_path):
    log = tmp_path / "log"
    environment = {**os.environ, "PYTHONPATH": str(TOOLS)}
    targets = [tmp_path / f"bin{number}" / "prog" for number in range(4)]
    set_ups = [
        subprocess.Popen([sys.executable, "-c", SET_UP, str(log), str(target)], env=environment)
        for target in targets
    ]
    assert [each.wait(60) for each in set_ups] == [0] * 4
    assert log.read_text() == "built\n"
    assert {target.read_text() for target in targets} == {"whole"}
    assert len(entries(cache)) == 1


def test_who_waits_does_not_wait_for_ever(cache, made, monkeypatch, capsys):
    monkeypatch.setattr(build_cache, "LOCK_WAIT_S", 0.05)
    monkeypatch.setattr(build_cache, "LOCK_POLL_S", 0.01)
    cache.mkdir(parents=True, mode=0o700)
    with build_cache._locked(cache / f".{BUILD.key}.lock", BUILD), pytest.raises(SystemExit):
        made()
    assert "another set-up builds prog" in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
@pytest.mark.parametrize("whose", ["another's", "everybody's"])
def test_root_takes_nothing_from_where_others_may_write(cache, made, whose):
    cache.mkdir(parents=True, mode=0o700)
    if whose == "another's":
        os.chown(cache, 65534, 65534)
    else:
        cache.chmod(0o777)
    assert build_cache.cache_directory() is None
    assert made() == "whole"
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("chosen", "home", "expected"),
    [
        ("/{}/c", "/{}/h", "/{}/c/agency"),
        ("", "/{}/h", "/{}/h/.cache/agency"),
        ("relative", "/{}/h", "/{}/h/.cache/agency"),
        ("", "", None),
    ],
)
def test_where_it_is(chosen, home, expected, tmp_path, monkeypatch):
    place = str(tmp_path).strip("/")
    monkeypatch.setenv("XDG_CACHE_HOME", chosen.format(place))
    monkeypatch.setenv("HOME", home.format(place))
    wanted = Path(expected.format(place)) if expected else None
    assert build_cache.cache_directory() == wanted
