"""The secrets of a real instance, looked for wherever a spin-up leaves traces."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from agency.children import processes_with_marker
from agency.secrets.redact import Redactor
from agency.secrets.values import SecretValue

pytestmark = pytest.mark.skipif(
    not (shutil.which("sops") and shutil.which("age-keygen")),
    reason="sops and age are not installed; `make setup-tools` gets them",
)


@pytest.fixture
def instance(tmp_path, agency):
    """A real instance: made by `agency init`, encrypted by sops; with its secrets in clear."""
    place, key = tmp_path / "instance", tmp_path / "age.key"
    made = agency(
        *("init", str(place), "--name", "canary", "--domain", "canary.example"),
        *("--operator", "@ann:canary.example", "--agent", "pm=pm", "--age-key", str(key)),
    )
    assert made.returncode == 0, made.stderr
    opened = subprocess.run(
        ["sops", "decrypt", "--output-type", "json", str(place / "secrets" / "secrets.yaml")],
        env={**os.environ, "SOPS_AGE_KEY_FILE": str(key)},
        capture_output=True,
        timeout=60,
        check=True,
    )
    opened_values = json.loads(opened.stdout).values()
    values = [SecretValue(text) for text in opened_values if isinstance(text, str)]
    private = next(line for line in key.read_text().splitlines() if not line.startswith("#"))
    return place, key, [*values, SecretValue(private)]


def traces_of_processes(run: str) -> str:
    """What other users of the machine could see of the run's processes, and their environments."""
    return "\n".join(
        Path(f"/proc/{pid}/{part}").read_bytes().decode(errors="replace")
        for pid in processes_with_marker(run)
        for part in ("cmdline", "environ")
    )


def test_no_secret_leaves_its_place(spinup, instance):
    place, key, values = instance
    redactor = Redactor(values)
    assert (
        redactor.redact(f"a {values[0].reveal()} b") == f"a {redactor.redact(values[0].reveal())} b"
    )
    assert redactor.redact(values[0].reveal()) != values[0].reveal()
    run_up = spinup("--instance", str(place), "--age-key", str(key)).start()
    run_up.reach("scenario")
    pid = run_up.find("agent", "run")
    seen = traces_of_processes(run_up.run)
    logs = run_up.runs / run_up.run
    written = "\n".join(
        path.read_text(errors="replace")
        for path in logs.rglob("*")
        if path.is_file() and (path.suffix == ".log" or path.name == "log")
    )
    assert pid
    assert run_up.end() == 0, run_up.text
    statement = json.dumps(run_up.predicate())
    for name, text in (
        ("process list", seen),
        ("logs", written),
        ("output", run_up.text),
        ("transcript", statement + run_up.output.read_text()),
    ):
        assert text, f"nothing to search in: {name}"
        assert redactor.redact(text) == text, f"a secret is in: {name}"


def test_the_signing_key_is_the_instances_own(spinup, instance):
    place, key, values = instance
    run_up = spinup("--instance", str(place), "--age-key", str(key)).start()
    assert run_up.end() == 0, run_up.text
    assert not (run_up.state_home / "agency" / "transcript.key").exists()
    public = run_up.public_key.read_text()
    assert any(_public_of(value.reveal()) == public for value in values)


def _public_of(text: str) -> str | None:
    if "PRIVATE KEY" not in text:
        return None
    done = subprocess.run(
        ["openssl", "pkey", "-pubout"], input=text, capture_output=True, text=True, timeout=30
    )
    return done.stdout


def test_without_the_key_there_is_no_run_and_a_hint(spinup, instance):
    place, _, _ = instance
    run_up = spinup("--instance", str(place), "--age-key", str(place / "no.key")).start()
    assert run_up.end() == 3
    assert "age" in run_up.text
    assert not run_up.output.exists()
    assert not list(run_up.runs.glob("run-*"))
