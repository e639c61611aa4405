"""Who can decrypt: the three places must agree, which needs no key to see."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agency.errors import BadInputError
from agency.instance.load import load_instance
from agency.instance.problems import InstanceError
from agency.secrets.encryption import age, sops
from agency.secrets.encryption.age import AgeKey
from agency.secrets.values import SecretValue

Agency = Callable[..., int]


@pytest.fixture
def stranger() -> AgeKey:
    return age.new_key()


def update_keys(made: Any) -> None:
    subprocess.run(
        ["sops", "updatekeys", "-y", "secrets/secrets.yaml"],
        cwd=made.root,
        env={"PATH": os.environ["PATH"], "SOPS_AGE_KEY_FILE": str(made.key)},
        check=True,
        timeout=30,
        capture_output=True,
    )


def list_in_instance(made: Any, key: AgeKey) -> None:
    with (made.root / "instance.yaml").open("a") as handle:
        handle.write(f"    stranger: {key.recipient}\n")


def test_one_more_in_instance_yaml(made: Any, stranger: AgeKey) -> None:
    list_in_instance(made, stranger)
    lines = len((made.root / "instance.yaml").read_text().splitlines())
    with pytest.raises(InstanceError) as caught:
        load_instance(made.root)
    assert [(p.line, p.field) for p in caught.value.problems] == [
        (lines, "secrets.recipients.stranger")
    ] * 2
    assert "is not a recipient in" in caught.value.message
    assert "agency render" in caught.value.message
    made.key.unlink()  # nothing of this needed it
    with pytest.raises(InstanceError):
        load_instance(made.root)


def test_one_more_in_sops_yaml(made: Any, stranger: AgeKey) -> None:
    config = made.root / ".sops.yaml"
    text = config.read_text()
    config.unlink()
    config.write_text(text + f"          - {stranger.recipient}\n")
    with pytest.raises(InstanceError) as caught:
        load_instance(made.root)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(config), len(text.splitlines()) + 1)
    assert stranger.recipient in problem.message
    assert "is not in instance.yaml" in problem.message


def test_one_more_in_the_encrypted_file(made: Any, stranger: AgeKey, agency: Agency) -> None:
    original = (made.root / "instance.yaml").read_text()
    list_in_instance(made, stranger)
    assert agency("render", made.root) == 0
    update_keys(made)
    assert agency("check", made.root) == 0
    (made.root / "instance.yaml").write_text(original)
    assert agency("render", made.root) == 0
    with pytest.raises(InstanceError) as caught:
        load_instance(made.root)
    (problem,) = caught.value.problems
    assert problem.file == str(made.encrypted)
    assert problem.line is not None
    assert stranger.recipient in made.encrypted.read_text().splitlines()[problem.line - 1]


def test_a_key_of_another_kind_is_a_stranger_too(made: Any) -> None:
    text = made.encrypted.read_text()
    made.encrypted.write_text(text.replace("\nsops:\n", "\nsops:\n    pgp:\n        - fp: ABCD\n"))
    with pytest.raises(InstanceError, match="pgp:ABCD can decrypt"):
        load_instance(made.root)


def test_the_way_to_add_somebody(made: Any, stranger: AgeKey, agency: Agency) -> None:
    list_in_instance(made, stranger)
    assert agency("check", made.root) == 1
    assert agency("render", made.root) == 0
    assert agency("check", made.root) == 1
    update_keys(made)
    assert agency("check", made.root) == 0
    age.store_key(stranger, made.key.with_name("stranger.key"))
    assert (
        agency("check", made.root, "--decrypt", "--age-key", made.key.with_name("stranger.key"))
        == 0
    )


def test_all_disagreements_are_listed_by_check(
    made: Any, stranger: AgeKey, agency: Agency, capsys: pytest.CaptureFixture[str]
) -> None:
    list_in_instance(made, stranger)
    shutil.rmtree(made.root / "generated" / "matrix")
    capsys.readouterr()
    assert agency("check", made.root, "--json") == 1
    problems = json.loads(capsys.readouterr().out)["problems"]
    files = {Path(problem["file"]).name for problem in problems}
    assert {"instance.yaml", "instance.json", "registration.yaml", "sops.yaml"} <= files


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("matrix-as-token: hunter2-plain\n", "not encrypted by sops"),
        ("- a\n", "must be a mapping"),
        ("a: [\n", "not YAML"),
        ("", "is empty"),
    ],
)
def test_a_file_that_sops_did_not_make(made: Any, content: str, words: str) -> None:
    made.encrypted.write_text(content)
    with pytest.raises(InstanceError, match=words) as caught:
        load_instance(made.root)
    assert "hunter2" not in str(caught.value.as_dict())


def test_a_plain_value_among_encrypted_ones(made: Any, agency: Agency) -> None:
    made.encrypted.write_text("my-note: hunter2-plain\n" + made.encrypted.read_text())
    with pytest.raises(BadInputError, match="my-note are not encrypted") as caught:
        sops.names_in_file(made.encrypted)
    assert "hunter2" not in str(caught.value)
    assert agency("check", made.root) == 1


def test_recipients_of_a_configuration_with_every_shape(tmp_path: Path) -> None:
    config = tmp_path / ".sops.yaml"
    config.write_text(
        "creation_rules:\n"
        "  - age: age1a, age1b\n"
        "  - age: [age1c]\n"
        "    pgp: FP1\n"
        "  - key_groups:\n"
        "      - age: [age1d]\n"
        "        kms: [{arn: 'arn:x'}]\n"
    )
    assert sops.recipients_in_config(config) == {
        "age1a",
        "age1b",
        "age1c",
        "age1d",
        "pgp:FP1",
        "kms:arn:x",
    }
    config.write_text("stores: {}\n")
    with pytest.raises(BadInputError, match="no creation_rules"):
        sops.recipients_in_config(config)


def test_encryption_names_its_recipients(stranger: AgeKey, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(sops.encrypt({"a": SecretValue("value")}, [stranger.recipient]))
    assert sops.recipients_in_file(path) == {stranger.recipient}
    assert sops.names_in_file(path) == {"a"}
