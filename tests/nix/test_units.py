"""What holds for every own unit: hardened, one call of the command line, exported as it is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest

from agency.instance.needs import required_secrets
from agency.secrets.catalogue import load_catalogue

ROOT = Path(__file__).resolve().parents[2]
PORTABLE = ROOT / "modules/portable"
# The distribution's, exported with ours, are hardened by those who wrote them.
UNITS = sorted((PORTABLE / "machine/etc/systemd/system").glob("agency-*.service"))
MOST_EXPOSURE = 20  # tenths
PROGRAM = re.compile(r"^(Exec\w+=)(?:/opt/agency|/usr/lib)/\S+", re.MULTILINE)
# Each is turned off only where the unit says why, in `relax`.
HARDENED = (
    "CapabilityBoundingSet=",
    "LimitCORE=0",
    "LockPersonality=true",
    "NoNewPrivileges=true",
    "PrivateDevices=true",
    "PrivateIPC=true",
    "PrivateTmp=true",
    "ProtectClock=true",
    "ProtectControlGroups=true",
    "ProtectHostname=true",
    "ProtectKernelLogs=true",
    "ProtectKernelModules=true",
    "ProtectKernelTunables=true",
    "ProtectSystem=strict",
    "RemoveIPC=true",
    "RestrictRealtime=true",
    "RestrictSUIDSGID=true",
    "SystemCallArchitectures=native",
    "UMask=0077",
)


def _services(report: dict[str, Any]) -> dict[str, str]:
    """The own services of the full machine, without the drop-ins of single agents."""
    return {
        name: text
        for name, text in report["agency"]["unitTexts"].items()
        if name.removesuffix(".service") in report["agency"]["units"]
    }


# What a unit cannot have, and why.
LACKING = {
    # It makes a control group for each suite, in those that systemd delegates to it.
    "agency-runner.service": ["ProtectControlGroups=true"],
}


def test_every_own_service_is_hardened(report: dict[str, Any]) -> None:
    services = _services(report)
    assert len(services) == len(report["agency"]["units"])
    for name, text in services.items():
        lacking = [line for line in HARDENED if f"\n{line}" not in text]
        assert lacking == LACKING.get(name, []), name
    assert "\nDelegate=pids memory\n" in services["agency-runner.service"]


def test_no_agent_reaches_a_service_that_acts_for_it(report: dict[str, Any]) -> None:
    """Such a service has a uid of its own, for which the rules of agents do not hold."""
    units = {name: text for name, text in _services(report).items() if "agency-agent" in name}
    units = {name: text for name, text in units.items() if name.endswith("@.service")}
    assert len(units) >= 10
    for name, text in units.items():
        closed = set(re.findall(r"^InaccessiblePaths=-(.+)$", text, re.MULTILINE))
        assert closed >= {"/nix/var/nix/daemon-socket", "/run/dbus", "/run/gitlab"}, name


def test_no_own_service_is_declared_past_the_one_function(report: dict[str, Any]) -> None:
    names = {name for name in report["agency"]["unitTexts"] if name.endswith(".service")}
    drop_ins = {name for name in names if re.search(r"@.+\.service", name)}
    assert names - drop_ins == {f"{name}.service" for name in report["agency"]["units"]}


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_its_exposure_is_low(unit: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    argv = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSURE}"]
    result = subprocess.run([*argv, str(unit)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout


def test_the_exported_units_are_current(report: dict[str, Any]) -> None:
    argv = [sys.executable, str(PORTABLE / "generate.py"), "--check"]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr


def test_the_exported_files_lead_to_no_store_and_name_no_instance() -> None:
    for path in PORTABLE.rglob("*"):
        if path.is_file() and path.suffix not in {".py", ".pyc"}:
            text = path.read_text()
            assert "/nix/store" not in text, path
            assert "agency.example" not in text, path


def test_the_distributions_units_are_exported_with_the_texts_they_name() -> None:
    machine = PORTABLE / "machine"
    named = {
        path
        for file in (*machine.rglob("*"), *(PORTABLE / "instance").rglob("*"))
        if file.is_file()
        for path in re.findall(r"/(usr/lib/agency/nixos/[A-Za-z0-9._-]+)", file.read_text())
    }
    assert {"usr/lib/agency/nixos/homeserver.yaml", "usr/lib/agency/nixos/pg_hba.conf"} <= named
    assert [p for p in named if not any((d / p).is_file() for d in _folders())] == []


def _folders() -> tuple[Path, ...]:
    return PORTABLE / "machine", PORTABLE / "instance"


def test_the_rendered_control_plane_is_that_of_the_modules(
    report: dict[str, Any], new_instance: Any
) -> None:
    """A machine without Nix gets the rendered document; they may differ only where a host says."""
    rendered = json.loads((new_instance("full") / "generated/control.json").read_text())
    found = json.loads(report["throwaway"]["control"])
    assert found.pop("backup") == {"max_age_hours": 26}
    assert found == rendered


def test_secrets_go_where_the_naming_says(report: dict[str, Any], new_instance: Any) -> None:
    from agency.instance.load import load_instance

    instance = load_instance(new_instance("agreement"), check_recipients=False).instance
    specs = {spec.name: spec for spec in required_secrets(instance)}
    for name, secret in report["agency"]["secrets"].items():
        if name in specs:
            spec = specs[name]
            assert (secret["class"], secret["owner"], secret["mode"]) == (
                spec.cls.value,
                spec.owner,
                spec.mode,
            )
            assert set(spec.consumers) <= set(secret["consumers"])


def test_every_secret_of_the_machine_is_that_of_the_catalogue(report: dict[str, Any]) -> None:
    """Those of agents' features too, which no instance lists."""
    entries = load_catalogue().secrets
    patterns = {
        re.compile(re.sub(r"\\\{[a-z]+\\\}", "([a-z0-9-]+)", re.escape(name))): name
        for name in entries
    }
    seen = set()
    for name, secret in report["agency"]["secrets"].items():
        found = [(at, one.fullmatch(name)) for one, at in patterns.items() if one.fullmatch(name)]
        assert len(found) == 1, name
        template, match = found[0]
        seen.add(template)
        value = "".join(match.groups()) if match else ""
        spec = load_catalogue().spec(template, agent=value, engine=value, domains="")
        assert (secret["class"], secret["owner"], secret["mode"]) == (
            spec.cls.value,
            spec.owner,
            spec.mode,
        )
        assert set(spec.consumers) <= set(secret["consumers"])
    assert {"agent-{agent}-mail-password", "agent-{agent}-ssh-passphrase"} <= seen


def test_systemd_accepts_every_exported_unit(tmp_path: Path) -> None:
    """With one agent's files in place, and a program where the prefix says."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    machine = tmp_path / "machine"
    shutil.copytree(PORTABLE / "machine/etc/systemd/system", machine)
    agent = {"name": "dev-two", "uid": 4002, "port": 20002}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    source = PORTABLE / "agent/etc/systemd/system"
    for path in sorted(one for one in source.rglob("*") if one.is_file()):
        name = path.relative_to(source).as_posix()
        target = machine / name.replace("AGENT_", "dev_two").replace("AGENT", agent["name"])
        target.parent.mkdir(exist_ok=True)
        target.write_text(environment.from_string(path.read_text()).render(agent=agent))
    program = tmp_path / "agency"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in machine.rglob("*.service"):
        if path.is_file():
            path.write_text(PROGRAM.sub(rf"\g<1>{program}", path.read_text()))
    units = [path for path in machine.iterdir() if path.is_file()]
    names = [str(path).replace("@.", "@dev-two.") for path in units]
    for path, name in zip(units, names, strict=True):
        if str(path) != name:
            Path(name).symlink_to(path.name)
    # Units of the distribution that ours name may be absent here; that is no fault of ours.
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *names],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{machine}:"},
    )
    assert result.returncode == 0, result.stderr
    assert str(machine) not in result.stderr


@pytest.mark.usefixtures("snapshot")  # it needs the tree
def test_a_part_that_changed_what_every_guest_has_would_not_be_exported() -> None:
    """Parts are combined; one that changes another's files would change what is proven of it."""
    expression = """
      let
        lib = import <nixpkgs/lib>;
        parts = import ./modules/lib/parts;
        guest = unit: {
          environment.etc."agency/secrets.json".text = "{\\"secrets\\":[],\\"templates\\":[]}";
          inherit unit;
        };
        export = changed: parts {
          inherit lib;
          guest = guest "as it is";
          guestWith = _: guest (if changed then "another" else "as it is");
          fillInstance = text: text;
          namesInstance = _: false;
          unitFiles = one: _: { "etc/x.service" = one.unit + '' Groups "X25519MLKEM768:X25519:''; };
          ownNames = _: [ ];
          userLine = _: _: "";
          groupLine = _: _: "";
          portElementsOf = _: { };
          elementLines = _: "";
          common = [ ];
        };
      in
      map (changed: (builtins.tryEval (builtins.deepSeq (export changed).edge true)).success)
        [ false true ]
    """
    argv = ["nix-instantiate", "--eval", "--strict", "--json", "--expr", expression]
    result = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert json.loads(result.stdout) == [True, False], result.stderr


@pytest.mark.usefixtures("snapshot")  # it needs the tree
def test_a_unit_that_every_machine_has_as_a_file_is_no_parts() -> None:
    """It would be there twice; one that reads otherwise with the part is refused."""
    expression = """
      let
        lib = import <nixpkgs/lib>;
        etc = text: { "agency/secrets.json".text = text; };
        none = "{\\"secrets\\":[],\\"templates\\":[]}";
        unit = ''Groups "X25519MLKEM768:X25519:'';
        export = everywhere: (import ./modules/lib/parts {
          inherit lib everywhere;
          guest.environment.etc = etc none;
          guestWith = _: { environment.etc = etc none // { "agency/new.json".text = "new"; }; };
          fillInstance = text: "filled: ${text}";
          namesInstance = _: false;
          unitFiles = one: names: if names == [ ] then { } else {
            "etc/ours.service" = "ours";
            "etc/x.service" = unit;
          };
          ownNames = _: [ ];
          userLine = _: _: "";
          groupLine = _: _: "";
          portElementsOf = _: { };
          elementLines = _: "";
          common = [ ];
        }).edge;
        tried = everywhere:
          let made = export everywhere; in builtins.tryEval (builtins.deepSeq made made);
      in
      {
        same = tried { "etc/ours.service" = "ours"; };
        other = (tried { "etc/ours.service" = "other"; }).success;
      }
    """
    argv = ["nix-instantiate", "--eval", "--strict", "--json", "--expr", expression]
    result = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    assert seen["other"] is False
    assert seen["same"]["success"] is True
    export = seen["same"]["value"]
    assert "etc/ours.service" not in export["files"]
    assert "etc/x.service" in export["files"]
    assert export["instanceFiles"]["etc/agency/new.json"] == "filled: new"
    assert export["start"]["units"] == ["nginx.service"]
