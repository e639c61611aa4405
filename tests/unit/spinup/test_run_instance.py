"""The instance of a run in a guest: the given facts, and secrets that nobody else can open."""

from __future__ import annotations

from pathlib import Path

import pytest

from agency.errors import InternalError, PrerequisiteError
from agency.instance.load import load_instance
from agency.instance.render import check_rendered
from agency.secrets.encryption import sops
from agency.secrets.encryption.age import new_key, store_key
from agency.spinup.targets.incus.secrets import RunSecrets

EXAMPLE = Path(__file__).resolve().parents[3] / "instance"


@pytest.fixture
def run_secrets(tmp_path: Path) -> RunSecrets:
    return RunSecrets.make(load_instance(EXAMPLE), tmp_path / "run")


def test_it_says_what_the_given_one_says(run_secrets: RunSecrets) -> None:
    given, made = load_instance(EXAMPLE).instance, run_secrets.loaded.instance
    for name in ("name", "domain", "operators", "services"):
        assert getattr(made, name) == getattr(given, name)
    assert [*made.resolved_agents()] == [*given.resolved_agents()]
    assert made.secrets.provider == "sops"
    assert check_rendered(run_secrets.loaded) == ()


def test_only_the_runs_key_opens_its_secrets(run_secrets: RunSecrets, tmp_path: Path) -> None:
    file = run_secrets.loaded.root / sops.SECRETS_FILE
    opened = sops.decrypt(file, tmp_path / "run" / "age.key")
    assert opened["matrix-hs-token"].reveal() == run_secrets.get("matrix-hs-token").reveal()
    stranger = new_key()
    store_key(stranger, tmp_path / "stranger.key")
    with pytest.raises(PrerequisiteError, match="no age key of this machine opens it"):
        sops.decrypt(file, tmp_path / "stranger.key")


def test_two_runs_share_no_secret(run_secrets: RunSecrets, tmp_path: Path) -> None:
    other = RunSecrets.make(load_instance(EXAMPLE), tmp_path / "other")
    mine = {value.reveal() for value in run_secrets.values()}
    assert len(mine) >= 7
    assert mine.isdisjoint(value.reveal() for value in other.values())


def test_the_key_itself_is_among_what_must_not_be_told(run_secrets: RunSecrets) -> None:
    lines = run_secrets.key.identity.reveal().splitlines()
    (identity,) = [line for line in lines if line.startswith("AGE-SECRET-KEY-")]
    assert identity in {value.reveal() for value in run_secrets.values()}
    assert "AGE-SECRET-KEY" not in repr(run_secrets)


def test_nothing_is_told_after_its_end(run_secrets: RunSecrets) -> None:
    assert run_secrets.values()
    run_secrets.close()
    with pytest.raises(InternalError, match="closed"):
        run_secrets.values()
