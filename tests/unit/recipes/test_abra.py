"""abra as a child: what is said, what is believed, what is kept out of logs."""

import os

import pytest

from agency.children import marked_environment
from agency.coopcloud import AbraError, AbraHome
from agency.recipes.journal import Censor, Journal


def home(tmp_path, script, timeout_s=10.0):
    program = tmp_path / "abra"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    made = AbraHome(
        str(program), tmp_path / "place", "a.test", None, {"AGENCY_RUN": "r1"}, timeout_s
    )
    made.prepare()
    return made


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "log", Censor()) as journal:
        yield journal


def test_the_words_of_each_command(tmp_path, journal):
    abra = home(
        tmp_path,
        'echo "$@" >> "$ABRA_DIR/words"; [ "$2 $3" = "secret generate" ] && echo "[]"; true',
    )
    abra.new("wiki", journal)
    abra.generate_secrets(journal)
    abra.deploy(journal)
    abra.deploy(journal, "1.0.0+2")
    abra.undeploy(journal)
    abra.remove_volumes(journal)
    abra.remove_secrets(journal)
    lines = (tmp_path / "place" / "abra" / "words").read_text().splitlines()
    assert lines == [
        "app new wiki --server default --domain a.test --offline --no-input",
        "app secret generate a.test --all --machine --no-input --offline",
        "app deploy a.test --chaos --force --offline --no-input --no-domain-checks",
        "app deploy a.test 1.0.0+2 --force --offline --no-input --no-domain-checks",
        "app undeploy a.test --no-input",
        "app volume remove a.test --force --no-input",
        "app secret remove a.test --all --no-input",
    ]
    assert not any("--chaos" in one for one in lines[4:])  # abra refuses it there


def test_a_backup_has_a_terminal_and_keeps_the_exit_status(tmp_path, journal):
    abra = home(tmp_path, "test -t 0 && test -t 1 || exit 9; echo said")
    abra.back_up(journal)
    assert "said" in (tmp_path / "log").read_text()
    failing = home(tmp_path, "echo FATA no backup config; exit 3")
    with pytest.raises(AbraError, match="exit status 3"):
        failing.restore(journal)


def test_a_run_inside_another_run_is_ended_with_it(monkeypatch):
    monkeypatch.setenv("AGENCY_RUN", "outer")
    assert marked_environment("r1") == {"AGENCY_RUN": "outer/r1"}
    monkeypatch.delenv("AGENCY_RUN")
    assert marked_environment("r1") == {"AGENCY_RUN": "r1"}


def test_a_hang_is_ended_with_what_it_started(tmp_path, journal):
    abra = home(tmp_path, f"(sleep 3; touch {tmp_path}/late) & sleep 60", timeout_s=1.0)
    with pytest.raises(AbraError, match="no end after 1 s"):
        abra.deploy(journal)
    os.system("sleep 3")
    assert not (tmp_path / "late").exists()


def test_only_its_own_environment_is_given(tmp_path, journal, monkeypatch):
    monkeypatch.setenv("FORGE_TOKEN", "x")
    home(tmp_path, 'env > "$ABRA_DIR/env"').deploy(journal)
    names = {
        line.partition("=")[0] for line in (tmp_path / "place/abra/env").read_text().splitlines()
    }
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == {
        "ABRA_DIR",
        "HOME",
        "PATH",
        "NO_COLOR",
        "AGENCY_RUN",
    }


@pytest.mark.parametrize(
    ("printed", "made"),
    [
        ('[{"name": "db", "value": "hunter22"}]', {"db": "hunter22"}),
        ('[{"NAME": "db", "VALUE": "hunter22"}]', {"db": "hunter22"}),
        ("", {}),
        ("[]", {}),
    ],
)
def test_generated_secrets_are_read_and_never_logged(tmp_path, journal, printed, made):
    abra = home(tmp_path, f"cat <<'EOF'\n{printed}\nEOF")
    assert abra.generate_secrets(journal) == made
    assert "hunter22" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("printed", ["db hunter22", '{"db": "hunter22"}', '["hunter22"]', "[{}]"])
def test_secrets_that_cannot_be_read_end_the_stage_and_are_not_shown(tmp_path, journal, printed):
    abra = home(tmp_path, f"cat <<'EOF'\n{printed}\nEOF")
    with pytest.raises(AbraError, match="cannot be read") as caught:
        abra.generate_secrets(journal)
    assert "hunter22" not in repr(caught.value) + str(caught.value.__cause__)


def test_the_version_is_asked_for(tmp_path):
    assert home(tmp_path, "echo abra version 1").version() == "abra version 1"
