"""Parts of a profile: chosen by name, found by their files, and each with rules of its own."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from agency import chromium, cli
from agency.backup import load_settings
from agency.errors import PrerequisiteError
from agency.guests import load_definitions
from agency.guests.images.debs import fetch_argv
from agency.guests.images.recipe import ImageRecipe
from agency.instance.load import load_instance
from agency.instance.needs import required_secrets
from agency.secrets.examination.forms import faults
from agency.secrets.values import SecretValue
from agency.spinup.cli import spinup_smoke
from agency.spinup.targets.incus.config import Config
from agency.spinup.targets.incus.needs import Needs
from agency.spinup.targets.incus.parts import Part, known_parts, make_part
from agency.spinup.targets.incus.parts.backup import REPOSITORY, UNITS, BackupPart
from agency.spinup.targets.incus.parts.edge import browser
from agency.spinup.targets.incus.parts.edge.certificate import VALID, make_certificates
from agency.spinup.targets.incus.parts.edge.part import EdgePart
from agency.spinup.targets.incus.secrets import RunSecrets
from agency.spinup.targets.incus.system.choice import WantedSystem
from agency.transcript import PARTS, PROBES

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "instance"
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def test_every_part_has_rules_and_those_exported_their_definitions() -> None:
    assert set(known_parts()) == set(PARTS)
    for name in known_parts():
        part = make_part(name)
        assert part.name == name
        assert (ROOT / "modules/portable/parts" / name).is_dir() is part.exported


def test_probes_of_parts_are_no_others() -> None:
    names = [rule.name for rules in PARTS.values() for rule in rules]
    assert len(names) == len(set(names))
    assert {name for name in names if PROBES[name].targets} == set()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("moon", "'moon' is no part"),
        ("edge,moon", "'moon' is no part"),
        ("edge,edge", "edge is given twice"),
        ("edge,", "'' is no part"),
        (",", "'' is no part"),
    ],
)
def test_a_part_that_there_is_not_is_wrong_usage(
    given: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "transcript.json"
    argv = ["--target", "incus", "--with", given, "--output", str(output), "--json"]
    assert cli.run(spinup_smoke, argv, prog_name="spinup_smoke") == 2
    assert said in json.loads(capsys.readouterr().err)["error"]["message"]
    assert not output.exists()


def test_another_target_has_no_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(spinup_smoke, ["--with", "edge", "--json"], prog_name="spinup_smoke") == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["where"], error["hint"]) == (
        "--with",
        "leave it out, or say --target incus",
    )


def test_the_parts_are_understood(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    # It ends at the next thing that is looked at: an instance that is not there.
    argv = ["--target", "incus", "--with", " edge", "--instance", str(tmp_path / "none"), "--json"]
    argv += ["--output", str(tmp_path / "transcript.json")]
    assert cli.run(spinup_smoke, argv, prog_name="spinup_smoke") != 2
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_the_runs_instance_has_the_edge_and_its_certificate(tmp_path: Path) -> None:
    part = EdgePart()
    secrets = RunSecrets.make(load_instance(EXAMPLE), tmp_path / "run", [part])
    services = secrets.loaded.instance.services
    assert (services.edge.enable, services.element.enable) == (True, True)
    chain, key = (secrets.get(f"wildcard-certificate{end}").reveal() for end in ("", "-key"))
    assert chain.strip() == part.certificates.chain.strip()
    assert key.strip() == part.certificates.key.strip()
    file = (secrets.loaded.root / "secrets/secrets.yaml").read_text()
    assert "wildcard-certificate-key: ENC[" in file
    assert part.certificates.key.splitlines()[1] not in repr(part)


def test_what_else_the_instance_runs_stays() -> None:
    document: dict[str, Any] = {"services": {"matrix": {"enable": True, "federation": True}}}
    EdgePart().adapt(document)
    assert document["services"]["matrix"] == {"enable": True, "federation": True}
    bare: dict[str, Any] = {"services": None}
    EdgePart().adapt(bare)
    assert bare == {"services": {"edge": {"enable": True}, "element": {"enable": True}}}


def test_the_certificate_is_one_that_an_operator_could_bring(tmp_path: Path) -> None:
    """By the very checks that `agency secrets doctor` makes, with a foreign key as the control."""
    part = EdgePart()
    secrets = RunSecrets.make(load_instance(EXAMPLE), tmp_path / "run", [part])
    specs = {spec.name: spec for spec in required_secrets(secrets.loaded.instance)}
    given = dict(part.secrets(secrets.loaded.instance))
    assert given.keys() <= specs.keys()
    # That it expires soon is no fault of one that ends with the run.
    assert [one for one in faults(specs, given, datetime.now(UTC)) if one.fatal] == []
    foreign = make_certificates("agency.example", datetime.now(UTC)).key
    given["wildcard-certificate-key"] = SecretValue(foreign)
    assert [one for one in faults(specs, given, datetime.now(UTC)) if one.fatal] != []


def test_the_run_is_backed_up_with_a_password_of_its_own(tmp_path: Path) -> None:
    runs = [
        RunSecrets.make(load_instance(EXAMPLE), tmp_path / name, [BackupPart()]) for name in "ab"
    ]
    for one in runs:
        assert one.loaded.instance.backup is not None
        assert one.loaded.instance.backup.repository == REPOSITORY
    first, second = (one.get("backup-password") for one in runs)
    assert first.reveal() != second.reveal()
    assert first.reveal() in [value.reveal() for value in runs[0].values()], "it is searched for"


def test_what_a_guest_backs_up_is_what_its_unit_reads(tmp_path: Path) -> None:
    run = RunSecrets.make(load_instance(EXAMPLE), tmp_path / "run", [BackupPart()])
    portable = ROOT / "modules" / "portable"
    files = load_definitions(portable, run.loaded.root, ("backup",)).files
    written = tmp_path / "backup.json"
    written.write_bytes(files["etc/agency/backup.json"].content)
    settings = load_settings(written)
    assert (settings.instance, settings.repository) == (run.loaded.instance.name, REPOSITORY)
    assert [store.path.name for store in settings.stores if store.audited] == ["control.db"]
    ((name, place),) = json.loads(files["etc/agency/backup.credentials.json"].content).items()
    above = str(Path(REPOSITORY).parent)
    for unit in UNITS:
        text = files[f"etc/systemd/system/{unit}"].content.decode()
        assert f"LoadCredential={name}:{place}\n" in text
        assert f"ReadWritePaths=-{above}\n" in text
    made = files["usr/lib/tmpfiles.d/agency-backup.conf"].content.decode()
    assert made.startswith(f"d {above} 0700 root root ")


def test_parts_are_combined_and_the_default_guest_has_none_of_them(tmp_path: Path) -> None:
    parts: list[Part] = [make_part(name) for name in known_parts()]
    run = RunSecrets.make(load_instance(EXAMPLE), tmp_path / "run", parts)
    exported = tuple(part.name for part in parts if part.exported)
    portable = ROOT / "modules" / "portable"
    every = load_definitions(portable, run.loaded.root, exported)
    bare = load_definitions(portable, run.loaded.root)
    secrets = "etc/agency/secrets.json"
    assert every.files.keys() > bare.files.keys()
    assert "etc/agency/backup.json" not in bare.files
    changed = [path for path in bare.files if bare.files[path] != every.files[path]]
    assert changed == [
        "etc/agency/control.json",
        secrets,
        "usr/lib/agency/nixos/homeserver.yaml",
    ]
    names = [one["name"] for one in json.loads(every.files[secrets].content)["secrets"]]
    assert {"alertmanager-token", "backup-password", "wildcard-certificate"} <= set(names)
    assert len(names) == len(set(names))


def test_its_times_and_names() -> None:
    leaf, middle = x509.load_pem_x509_certificates(
        make_certificates("agency.example", NOW).chain.encode()
    )
    assert leaf.not_valid_before_utc < NOW < leaf.not_valid_after_utc == NOW + VALID
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    covered = ["agency.example", "*.agency.example", "*.ci.agency.example"]
    assert names.get_values_for_type(x509.DNSName) == covered
    assert timedelta(hours=1) < VALID < timedelta(days=1)
    assert middle.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_two_runs_trust_each_other_not() -> None:
    one, two = (make_certificates("agency.example", NOW) for _ in range(2))
    assert one.authority != two.authority
    assert ssl.PEM_cert_to_DER_cert(one.authority) != ssl.PEM_cert_to_DER_cert(two.authority)


def test_packages_are_fetched_for_the_guests_debian() -> None:
    recipe = ImageRecipe(architecture="arm64")
    argv = fetch_argv(recipe, ("libnginx-mod-stream",), Path("/x y"))
    assert argv[0] == "mmdebstrap"
    assert {"--architectures=arm64", "--include=libnginx-mod-stream", "bookworm"} <= set(argv)
    assert any(part.endswith("'/x y'") for part in argv)


@pytest.fixture
def lacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Say what is missing on a machine with nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("INCUS_SOCKET", str(tmp_path / "none"))
    monkeypatch.setenv("AGENCY_INCUS_DIR", str(tmp_path / "incus"))

    def ask(*parts: EdgePart, system: WantedSystem = WantedSystem.DEBIAN) -> str:
        with pytest.raises(PrerequisiteError) as raised:
            Needs(Config(system=system), tmp_path, ROOT, parts).refuse_lacking_here()
        return str(raised.value)

    return ask


def test_what_a_part_needs_is_named_before_anything_is_made(lacking: Callable[..., str]) -> None:
    told = lacking(EdgePart())
    assert chromium.BROWSER_HINT in told
    assert chromium.CERTUTIL_HINT in told
    plain = lacking()
    assert chromium.BROWSER_HINT not in plain
    assert chromium.CERTUTIL_HINT not in plain


def test_a_nixos_guest_has_no_parts(lacking: Callable[..., str]) -> None:
    assert "say --image debian" in lacking(EdgePart(), system=WantedSystem.NIXOS)
    assert "say --image debian" not in lacking(system=WantedSystem.NIXOS)


def test_set_up_installs_a_browser_that_is_looked_for() -> None:
    import guest_host

    assert guest_host.BROWSERS == chromium.BROWSERS
    assert "certutil" in guest_host.PACKAGES.values()


def test_the_browser_knows_the_sites_and_nothing_else() -> None:
    rules = browser.Route("agency.example", 9443, "").rules().split(",")
    assert rules[-1] == "MAP * ~NOTFOUND"
    assert rules[:-1] == [
        f"MAP {host}:443 127.0.0.1:9443"
        for host in ("agency.example", "element.agency.example", "matrix.agency.example")
    ]
