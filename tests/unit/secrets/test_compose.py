"""Files made of issued secrets: written when complete, their readers restarted once."""

import json
import stat
from pathlib import Path

import pytest

from agency.cli import cli
from agency.commandline.main import run
from agency.errors import BadInputError, PrerequisiteError
from agency.secrets.delivery.compose import ComposeConfig, compose, read_config


class Place:
    """A directory of issued secrets, one of composed files, and the restarted units."""

    def __init__(self, root: Path) -> None:
        self.issued, self.made = root / "issued", root / "made"
        self.issued.mkdir()
        self.made.mkdir()
        self.restarted: list[list[str]] = []
        self.fails = False

    def restart(self, units) -> None:
        if self.fails:
            raise PrerequisiteError("no systemd")
        self.restarted.append(list(units))

    def config(self, **changes) -> ComposeConfig:
        file = {
            "name": "reader.env",
            "content": "ID=@client-id@\nTOKEN=@client-token@\n",
            "secrets": {
                "client-id": str(self.issued / "client-id"),
                "client-token": str(self.issued / "client-token"),
            },
            "consumers": ["reader.service"],
        }
        raw = {"path": str(self.issued / "raw"), "consumers": ["other.service"]}
        return ComposeConfig.model_validate(
            {"directory": str(self.made), "files": [file | changes], "watched": [raw]}
        )

    def issue(self, **values: str) -> None:
        for name, value in values.items():
            (self.issued / name.replace("_", "-")).write_text(value + "\n")

    def run(self, **changes):
        return compose(self.config(**changes), self.restart)

    @property
    def file(self) -> Path:
        return self.made / "reader.env"


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def test_file_is_written_when_all_its_secrets_are_issued(place):
    place.issue(client_id="7")
    assert place.run().missing == tuple(
        str(place.issued / name) for name in ("client-token", "raw")
    )
    assert not place.file.exists()
    place.issue(client_token="gloas-1")
    assert place.run().restarted == ("reader.service",)
    assert place.file.read_text() == "ID=7\nTOKEN=gloas-1\n"
    assert stat.S_IMODE(place.file.stat().st_mode) == 0o400


def test_fallback_is_written_until_secrets_are_issued(place):
    place.run(fallback="none\n")
    assert place.file.read_text() == "none\n"
    place.issue(client_id="7", client_token="t")
    place.run(fallback="none\n")
    assert place.file.read_text() == "ID=7\nTOKEN=t\n"


def test_first_run_of_a_boot_restarts_no_unit(place):
    place.issue(client_id="7", client_token="t", raw="r")
    assert place.run().restarted == ()
    assert place.restarted == []


def test_second_run_changes_nothing(place):
    place.issue(client_id="7", client_token="t")
    place.run()
    before = place.file.stat()
    done = place.run()
    assert (done.changed, done.restarted) == ((), ())
    assert place.file.stat() == before
    assert place.restarted == []


def test_only_readers_of_changed_files_are_restarted(place):
    place.issue(client_id="7", client_token="t", raw="r")
    place.run()
    place.issue(raw="s")
    assert place.run().restarted == ("other.service",)
    place.issue(client_token="u")
    assert place.run().restarted == ("reader.service",)


def test_withdrawn_secret_removes_its_file_and_restarts_no_unit(place):
    place.issue(client_id="7", client_token="t")
    place.run()
    (place.issued / "client-id").unlink()
    assert place.run().restarted == ()
    assert not place.file.exists()


def test_file_edited_by_hand_is_written_again(place):
    place.issue(client_id="7", client_token="t")
    place.run()
    place.file.chmod(0o600)
    place.file.write_text("ID=8\n")
    place.run()
    assert place.file.read_text() == "ID=7\nTOKEN=t\n"


def test_failed_restart_is_repeated(place):
    place.run()
    place.issue(client_id="7", client_token="t")
    place.fails = True
    with pytest.raises(PrerequisiteError):
        place.run()
    place.fails = False
    assert place.run().restarted == ("reader.service",)


def test_unreadable_state_restarts_the_readers(place):
    place.issue(client_id="7", client_token="t")
    place.run()
    (place.made / ".seen.json").unlink()
    (place.made / ".seen.json").write_text("{")
    assert place.run().restarted == ("reader.service",)


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nB=1", "a b", "é", ""])
def test_value_that_needs_quoting_is_refused_and_not_shown(place, value):
    place.issue(client_id="7", client_token=value)
    with pytest.raises(BadInputError) as refused:
        place.run()
    assert "client-token" in str(refused.value)
    if len(value) > 1:
        assert value not in str(refused.value)
    assert not place.file.exists()


def test_the_command(place, tmp_path, capsys):
    place.issue(client_id="7", client_token="canary")
    config = tmp_path / "issued.json"
    config.write_text(place.config().model_dump_json())
    assert (
        run(cli, ["secrets", "compose", "--config", str(config), "--json"], prog_name="agency") == 0
    )
    told = capsys.readouterr().out
    assert "reader.env" in json.loads(told)["changed"]
    assert "canary" not in told


@pytest.mark.parametrize(
    ("text", "error"), [("{", BadInputError), ('{"directory": "/x", "fils": []}', BadInputError)]
)
def test_error_of_an_invalid_configuration_names_the_file(tmp_path, text, error):
    file = tmp_path / "issued.json"
    file.write_text(text)
    with pytest.raises(error) as refused:
        read_config(file)
    assert refused.value.where == str(file)


def test_a_missing_configuration(tmp_path):
    with pytest.raises(PrerequisiteError):
        read_config(tmp_path / "none.json")


def test_placeholder_without_a_secret_is_refused(place):
    """A placeholder left in the file would be a publicly known secret."""
    place.issue(client_id="7", client_token="t")
    with pytest.raises(BadInputError, match=r"secret other, .* is not a secret of this"):
        place.run(content="ID=@client-id@\nOTHER=@other@\n")
    assert not place.file.exists()
    place.run(content="ID=@client-id@\nMAIL=a@b\n")
    assert place.file.read_text() == "ID=7\nMAIL=a@b\n"


def test_placeholder_inside_a_value_is_not_replaced(place):
    place.issue(client_id="@client-token@", client_token="t")
    place.run()
    assert place.file.read_text() == "ID=@client-token@\nTOKEN=t\n"
