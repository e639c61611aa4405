"""The tools that set a machine up: what is missing, where it comes from, what is left alone."""

import os
from pathlib import Path

import build_cache
import debian_packages as debian
import guest_host
import pytest
import setup

DEB822 = """\
# comment
Types: deb
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /keyring.gpg

Types: deb
URIs: http://archive.example/security
Suites: bookworm-security
Components: main
"""


def test_from_deb822():
    made = debian.stanzas(debian.backports(debian.stanzas(DEB822), "bookworm"))
    assert made == [
        {
            "Types": "deb",
            "URIs": "http://archive.example/debian",
            "Suites": "bookworm-backports",
            "Components": "main",
            "Signed-By": "/keyring.gpg",
        }
    ]


def test_from_one_line_entries():
    text = "# x\ndeb [arch=amd64 signed-by=/k.gpg] http://archive.example/d bookworm main # y\n"
    (made,) = debian.stanzas(debian.backports(debian.one_line_stanzas(text), "bookworm"))
    assert (made["URIs"], made["Signed-By"]) == ("http://archive.example/d", "/k.gpg")
    assert made["Suites"] == "bookworm-backports"


def test_without_the_release_there_is_nothing_to_derive_from():
    assert debian.backports(debian.stanzas(DEB822), "trixie") is None
    assert debian.backports([], "bookworm") is None


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A PATH on which there is nothing but what a test makes."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setattr(guest_host, "PLACES", str(place))

    def make(name, script="exit 0"):
        program = place / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return str(program)

    return make


def test_what_guests_need_is_missed_package_by_package(path):
    packages = guest_host.PACKAGES | guest_host.INCUS
    named = {package for package, sign in packages.items() if not sign.startswith("/")}
    assert {"npm", "openssh-client", "e2fsprogs", "mmdebstrap", "incus-base"} <= named
    assert set(guest_host.missing(packages)) >= named
    path("npm")
    path("ssh")
    assert named - set(guest_host.missing(packages)) == {"npm", "openssh-client"}


def everything(path, monkeypatch, tmp_path):
    files = {package: str(tmp_path) for package, sign in guest_host.PACKAGES.items() if "/" in sign}
    monkeypatch.setattr(guest_host, "PACKAGES", guest_host.PACKAGES | files)
    for sign in (guest_host.PACKAGES | guest_host.INCUS).values():
        if not sign.startswith("/"):
            path(sign)
    path(guest_host.BROWSERS[1])


def test_where_everything_is_here_it_does_not_matter_what_system_it_is(
    path, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(guest_host, "codename", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    everything(path, monkeypatch, tmp_path)
    guest_host.install_packages()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("uid", "said"), [(1000, "run this as root"), (0, "this is not Debian")])
def test_what_cannot_be_installed_is_named_and_nothing_else(
    uid, said, path, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(guest_host, "codename", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    everything(path, monkeypatch, tmp_path)
    for name in ("mke2fs", "incusd"):
        (tmp_path / "bin" / name).unlink()
    with pytest.raises(SystemExit) as ending:
        guest_host.install_packages()
    assert ending.value.code == 3
    text = capsys.readouterr().out
    assert said in text
    assert "e2fsprogs incus-base" in text
    assert "chromium" not in text
    assert "openssh-client" not in text


def test_any_browser_will_do_and_one_is_installed_where_there_is_none(
    path, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(guest_host, "codename", lambda: None)
    everything(path, monkeypatch, tmp_path)
    for name in guest_host.BROWSERS:
        (tmp_path / "bin" / guest_host.BROWSERS[1]).unlink(missing_ok=True)
        path(name)
        guest_host.install_packages()
        (tmp_path / "bin" / name).unlink()
    with pytest.raises(SystemExit):
        guest_host.install_packages()
    assert "chromium-headless-shell" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("listed", "made"),
    [("", True), ("default,dir,,1,CREATED", False), (None, False)],
    ids=["none", "one", "no answer"],
)
def test_an_incus_without_a_pool_gets_one(listed, made, path, tmp_path):
    # A stand-in for the client; a real one is asked in tests/integration/guest.
    seen = tmp_path / "made"
    answer = "exit 1" if listed is None else f"echo '{listed}'"
    path("incus", f'case "$2" in list) {answer};; create) echo "$@" > {seen};; esac')
    guest_host.ensure_pool()
    assert seen.exists() is made
    assert not made or seen.read_text() == "storage create local:agency dir\n"


@pytest.mark.parametrize(
    ("shown", "enough"),
    [
        ("go1.26.8 local", True),
        ("go1.23 local", True),
        ("go1.22.1 local", False),
        ("go1.22.1 auto", True),
        ("go1.20.14 auto", False),
        ("go1.19.8", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_which_go_builds_sops(shown, enough, path):
    assert setup.can_build_sops(path("go", f"echo {shown}")) is enough


def test_there_may_be_no_go_at_all(path, tmp_path, monkeypatch):
    monkeypatch.setattr(setup, "GO_PLACES", tmp_path)
    assert setup.find_go() is None
    assert setup.can_build_sops("/nonexistent/go") is False
    # Of Debian's packages, which put it beside the one on PATH.
    newer = tmp_path / "go-1.23" / "bin" / "go"
    newer.parent.mkdir(parents=True)
    Path(path("go", "echo go1.19.8")).chmod(0o755)
    newer.write_text("#!/bin/sh\necho go1.23.5; echo local\n")
    newer.chmod(0o755)
    assert setup.find_go() == str(newer)


@pytest.mark.parametrize("uid", [0, 1000])
def test_without_go_and_without_a_debian_to_take_it_from_the_last_line_says_so(
    uid, path, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(setup, "GO_PLACES", tmp_path)
    monkeypatch.setattr(setup, "TOOLS", tmp_path / "tools")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(setup, "codename", lambda: None if uid == 0 else "bookworm")
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    path("age-keygen")
    with pytest.raises(SystemExit) as ending:
        setup.install_tools()
    assert ending.value.code == 3
    *_, line = capsys.readouterr().out.splitlines()
    assert "Go 1.23 or newer" in line


def test_sops_is_built_to_need_no_libraries(path, tmp_path, monkeypatch):
    monkeypatch.setattr(setup, "TOOLS", tmp_path / "tools")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path("age-keygen")
    said = tmp_path / "said"
    monkeypatch.setenv("GOFLAGS", "-mod=mod")
    built = f'echo "$CGO_ENABLED $GOFLAGS $GOWORK $@" > {said}; echo built > "$GOBIN/sops"'
    path("go", f'case "$1" in env) echo go1.23;; *) {built};; esac')
    setup.install_tools()
    module = ("install", "-C", str(setup.SOPS_MODULE), f"{setup.SOPS}/cmd/sops")
    assert said.read_text().split() == ["0", "-mod=readonly", "off", *module]
    program = tmp_path / "tools" / "bin" / "sops"
    assert program.read_text() == "built\n"
    assert program.stat().st_mode & 0o777 == 0o755
    assert build_cache.find(setup.SOPS_BUILD, tmp_path / "cache" / "agency") is not None


def test_sops_and_all_that_it_is_made_of_have_checksums():
    sums = {tuple(line.split()[:2]) for line in (setup.SOPS_MODULE / "go.sum").open()}
    assert (setup.SOPS, setup.SOPS_VERSION) in sums
    required = (setup.SOPS_MODULE / "go.mod").read_text().split("require", 1)[1]
    wanted = [line.split()[:2] for line in required.splitlines() if " v" in line]
    assert len(wanted) > 50
    assert [name for name, version in wanted if (name, f"{version}/go.mod") not in sums] == []


def test_libraries_are_installed_from_hashed_wheels_alone(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(setup, "run", lambda *argv, **_: calls.append(argv))
    monkeypatch.setattr(setup, "VENV", tmp_path / "venv")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    monkeypatch.setattr(setup, "remove_stray_venv", lambda: None)
    setup.install_requirements("dev")
    [pins] = [argv for argv in calls if "-r" in argv]
    only = pins.index("--only-binary")
    assert pins[only + 1] == ":all:"
    assert "--require-hashes" in pins


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ID=debian\nVERSION_CODENAME=bookworm\n", "bookworm"),
        ('ID="debian"\nVERSION_CODENAME="trixie"\n', "trixie"),
        ("ID=ubuntu\nVERSION_CODENAME=noble\n", None),
        ("ID=debian\n", None),
    ],
)
def test_the_name_of_the_release(text, name, tmp_path, path):
    path("apt-get")
    (tmp_path / "os-release").write_text(text)
    assert debian.codename(tmp_path / "os-release") == name
    assert debian.codename(tmp_path / "nothing") is None
