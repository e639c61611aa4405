"""The sops provider, the doctor, and what a machine without the key is told."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency.errors import BadInputError, PrerequisiteError
from agency.instance.load import load_instance
from agency.instance.secret_provider import open_provider, sops_provider
from agency.secrets.encryption import age, sops
from agency.secrets.providers import SopsProvider
from agency.secrets.values import SecretValue

Agency = Callable[..., int]


def sops_run(made: Any, *arguments: str) -> None:
    subprocess.run(
        ["sops", *arguments],
        env={"PATH": os.environ["PATH"], "SOPS_AGE_KEY_FILE": str(made.key)},
        check=True,
        timeout=30,
        capture_output=True,
    )


class TestProvider:
    """A real instance's secrets."""

    def test_values_are_those_of_the_file(self, made: Any, tmp_path: Path) -> None:
        expected = sops.decrypt(made.encrypted, made.key)
        with open_provider(load_instance(made.root), tmp_path / "run") as provider:
            assert isinstance(provider, SopsProvider)
            assert set(provider.names()) == {*expected, "operator-password"}
            assert provider.missing() == ()
            for name, value in expected.items():
                assert provider.get(name) == value
            directory = provider.credentials(["transcript-signing-key"])
            key = (directory / "transcript-signing-key").read_text()
            assert key == expected["transcript-signing-key"].reveal()
            assert key.endswith("-----END PRIVATE KEY-----\n")
        assert not (tmp_path / "run").exists()

    def test_per_run_secrets_differ_from_run_to_run(self, made: Any) -> None:
        loaded = load_instance(made.root)
        with sops_provider(loaded) as one, sops_provider(loaded) as two:
            assert one.get("operator-password") == one.get("operator-password")
            assert one.get("operator-password") != two.get("operator-password")

    def test_without_a_key_names_are_known_and_values_are_not(self, made: Any) -> None:
        made.key.unlink()
        with sops_provider(load_instance(made.root)) as provider:
            assert "matrix-as-token" in provider.names()
            assert provider.missing() == ()
            with pytest.raises(PrerequisiteError, match="no age key") as caught:
                provider.get("matrix-as-token")
        assert str(made.key) in caught.value.message

    def test_what_is_not_in_the_file_is_missing(self, made: Any) -> None:
        sops_run(made, "unset", str(made.encrypted), '["matrix-as-token"]')
        with sops_provider(load_instance(made.root)) as provider:
            assert [spec.name for spec in provider.missing()] == ["matrix-as-token"]
            with pytest.raises(BadInputError, match="missing"):
                provider.get("matrix-as-token")
            provider.get("matrix-hs-token")


class TestDecrypting:
    """Each way it can fail says what to do."""

    def test_another_key(self, made: Any, tmp_path: Path) -> None:
        other = age.new_key()
        age.store_key(other, tmp_path / "other.key")
        with pytest.raises(PrerequisiteError) as caught:
            sops.decrypt(made.encrypted, tmp_path / "other.key")
        assert other.recipient in caught.value.message
        assert "secrets.recipients" in str(caught.value.hint)
        assert sops.decrypt(made.encrypted, made.key)

    def test_no_key_file(self, made: Any, tmp_path: Path) -> None:
        for missing in (None, tmp_path / "nowhere"):
            with pytest.raises(PrerequisiteError) as caught:
                sops.decrypt(made.encrypted, missing)
            assert "no age key" in caught.value.message

    def test_a_key_file_that_is_none(self, made: Any, tmp_path: Path) -> None:
        (tmp_path / "bad.key").write_text("AGE-SECRET-KEY-1HUNTER2\n")
        with pytest.raises(PrerequisiteError) as caught:
            sops.decrypt(made.encrypted, tmp_path / "bad.key")
        assert "not a readable age key file" in caught.value.message
        assert "HUNTER2" not in f"{caught.value.message}{caught.value.hint}"

    def test_a_changed_value(self, made: Any) -> None:
        text = made.encrypted.read_text()
        first = text.index("data:") + 5
        changed = "A" if text[first] != "A" else "B"
        made.encrypted.write_text(text[:first] + changed + text[first + 1 :])
        with pytest.raises(BadInputError, match="was changed by something but sops"):
            sops.decrypt(made.encrypted, made.key)

    def test_a_swapped_pair_of_names(self, made: Any) -> None:
        text = made.encrypted.read_text()
        swapped = text.replace("matrix-as-token", "x").replace("matrix-hs-token", "matrix-as-token")
        made.encrypted.write_text(swapped.replace("x:", "matrix-hs-token:", 1))
        with pytest.raises(BadInputError, match="was changed"):
            sops.decrypt(made.encrypted, made.key)

    def test_a_value_that_is_no_text(self, made: Any) -> None:
        sops_run(made, "set", str(made.encrypted), '["matrix-as-token"]', "123456789")
        with pytest.raises(BadInputError, match="matrix-as-token are not text") as caught:
            sops.decrypt(made.encrypted, made.key)
        assert "123456789" not in str(caught.value)

    def test_bad_recipients(self) -> None:
        with pytest.raises(BadInputError, match="could not encrypt") as caught:
            sops.encrypt({"a": SecretValue("hunter2-canary")}, ["age1nonsense"])
        assert "hunter2" not in str(caught.value)


class TestCommands:
    """What a person sees."""

    def test_list_shows_no_value(
        self, made: Any, agency: Agency, capsys: pytest.CaptureFixture[str]
    ) -> None:
        capsys.readouterr()
        assert agency("secrets", "list", made.root) == 0
        text = capsys.readouterr().out
        assert agency("secrets", "list", made.root, "--json") == 0
        document = capsys.readouterr().out
        rows = {row["name"]: row for row in json.loads(document)}
        assert rows["matrix-as-token"]["state"] == "in the file"
        assert rows["operator-password"]["state"] == "made per run"
        assert all(name in text for name in rows)
        for value in sops.decrypt(made.encrypted, made.key).values():
            assert value.reveal().strip() not in text + document

    def test_the_doctor_finds_everything_at_once(
        self, made: Any, agency: Agency, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sops_run(made, "unset", str(made.encrypted), '["matrix-as-token"]')
        sops_run(made, "set", str(made.encrypted), '["left-over"]', '"some long value"')
        sops_run(made, "set", str(made.encrypted), '["matrix-hs-token"]', '"pin42"')
        capsys.readouterr()
        assert agency("secrets", "doctor", made.root, "--json") == 1
        out = capsys.readouterr().out
        document = json.loads(out)
        assert [entry["name"] for entry in document["missing"]] == ["matrix-as-token"]
        assert "agency secrets generate" in document["missing"][0]["remedy"]
        assert document["superfluous"] == ["left-over"]
        assert document["unusable"] == ["matrix-hs-token"]
        assert "pin42" not in out

    def test_the_doctor_without_a_key(
        self, made: Any, agency: Agency, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made.key.unlink()
        assert agency("secrets", "doctor", made.root) == 3
        assert "no age key" in capsys.readouterr().out
        assert agency("check", made.root) == 0
        assert agency("check", made.root, "--decrypt") == 3

    def test_a_changed_file_is_the_instances_fault(self, made: Any, agency: Agency) -> None:
        text = made.encrypted.read_text()
        made.encrypted.write_text(text.replace("tag:", "tag:A", 1))
        assert agency("secrets", "doctor", made.root) == 1
        assert agency("check", made.root, "--decrypt") == 1

    def test_generate_adds_what_a_new_service_needs(self, made: Any, agency: Agency) -> None:
        before = sops.decrypt(made.encrypted, made.key)
        config = made.root / "instance.yaml"
        text = config.read_text().replace("services:\n", "services:\n  k3s: {enable: true}\n")
        config.write_text(text)
        assert agency("render", made.root) == 0
        assert agency("check", made.root) == 1
        assert agency("secrets", "generate", made.root) == 0
        after = sops.decrypt(made.encrypted, made.key)
        assert after.keys() - before.keys() == {"k3s-token"}
        assert all(after[name] == value for name, value in before.items())
        assert agency("check", made.root, "--decrypt") == 0
        untouched = made.encrypted.read_bytes()
        assert agency("secrets", "generate", made.root) == 0
        assert made.encrypted.read_bytes() == untouched

    def test_generate_without_a_key_changes_nothing(self, made: Any, agency: Agency) -> None:
        sops_run(made, "unset", str(made.encrypted), '["matrix-as-token"]')
        before = made.encrypted.read_bytes()
        made.key.unlink()
        assert agency("secrets", "generate", made.root) == 3
        assert made.encrypted.read_bytes() == before

    def test_a_missing_secrets_file(
        self, made: Any, agency: Agency, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made.encrypted.unlink()
        (made.root / ".sops.yaml").unlink()
        capsys.readouterr()
        assert agency("check", made.root) == 1
        out = capsys.readouterr().out
        assert "secrets.yaml: is missing" in out
        assert f"ln -sf generated/sops.yaml {made.root}/.sops.yaml" in out
        assert agency("secrets", "doctor", made.root) == 1


class TestCanaries:
    """Secrets never travel by argv or the environment, and stay out of every message."""

    @pytest.fixture
    def calls(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Put programs before the real ones that note the argv and environment they get."""
        record, shadow = tmp_path / "record", tmp_path / "shadow"
        record.mkdir()
        shadow.mkdir()
        for name in ("sops", "age-keygen"):
            real = next(
                Path(d) / name
                for d in os.environ["PATH"].split(os.pathsep)
                if (Path(d) / name).exists()
            )
            wrapper = shadow / name
            wrapper.write_text(
                "#!/bin/sh\n"
                f'cat /proc/$$/cmdline /proc/$$/environ > "{record}/{name}.$$"\n'
                f'exec "{real}" "$@"\n'
            )
            wrapper.chmod(0o755)
        monkeypatch.setenv("PATH", f"{shadow}{os.pathsep}{os.environ['PATH']}")
        return record

    def test_a_whole_life(
        self,
        calls: Path,
        made: Any,
        agency: Agency,
        tmp_path: Path,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        config = made.root / "instance.yaml"
        config.write_text(
            config.read_text().replace("services:\n", "services:\n  k3s: {enable: true}\n")
        )
        for arguments in (
            ("render", made.root),
            ("secrets", "generate", made.root),
            ("check", made.root, "--decrypt"),
            ("secrets", "doctor", made.root),
            ("secrets", "list", made.root),
        ):
            assert agency(*arguments) == 0
        with open_provider(load_instance(made.root), tmp_path / "run") as provider:
            needles = [provider.get(name).reveal().strip() for name in provider.names()]
        needles.append(made.key.read_text().splitlines()[-1])
        shown = capfd.readouterr()
        recorded = [path.read_bytes().decode() for path in sorted(calls.iterdir())]
        assert len(recorded) >= 8
        assert any("encrypt" in text for text in recorded)
        for text in (*recorded, shown.out, shown.err):
            for needle in needles:
                assert needle not in text
        # What was searched for can be found where it belongs.
        assert made.key.read_text().splitlines()[-1] in needles
        assert list(temporary.iterdir()) == []
