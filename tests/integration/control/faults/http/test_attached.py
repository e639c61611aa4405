"""Documents and values of secrets that go with commands, by `agency do` and by HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import forking
import pytest
from entering import socket_of
from gosutos import filled
from http_api import ALICE, VERA, client_for, url_of, with_api
from vault_places import CANARY, leaks
from vaulting import master_key

from agency.gosuto import as_yaml


@pytest.fixture
def keeping(control: Any, stub: Any, tmp_path: Path) -> Any:
    """A control plane with a vault and an HTTP interface."""
    place = tmp_path / "with-a-vault"
    place.mkdir()
    for file in control.credentials.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    (place / "vault-master-key").write_text(master_key())
    control.credentials = place
    control.config |= with_api()
    control.start()
    return control


def way_to(control: Any, kind: str, tmp_path: Path) -> list[str]:
    if kind == "socket":
        return [f"--socket={socket_of(control)}"]
    file = tmp_path / "token"
    file.write_text(client_for(control, ALICE).token)
    file.chmod(0o600)
    return [f"--url={url_of(control)}", f"--token-file={file}"]


def do(*words: str, given: str = "") -> tuple[int, dict[str, Any]]:
    done = forking.run("do", *words, "--json", input=given.encode())
    assert b"Traceback" not in done.stderr, done.stderr
    assert CANARY.encode() not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout or done.stderr)


@pytest.mark.parametrize("kind", ["socket", "http"])
def test_a_value_comes_by_standard_input_and_is_nowhere_else(
    keeping: Any, tmp_path: Path, kind: str
) -> None:
    way = way_to(keeping, kind, tmp_path)
    status, told = do("secrets", "set", "github", "--value-stdin", *way, given=f"{CANARY}\n")
    assert (status, told["reply"]["text"]) == (0, "github has version 1 now."), told
    status, told = do("secrets", "rotate", "github", "--value-stdin", *way, given=f"{CANARY}-2")
    assert (status, told["reply"]["text"]) == (0, "github has version 2 now."), told
    assert do("secrets", "set", "other", "--value-stdin", *way, given=" ")[0] == 2
    assert do("agents", "list", "--value-stdin", *way, given=CANARY)[0] == 2
    assert leaks(keeping, CANARY) == []
    assert keeping.verify() == 0


@pytest.mark.parametrize("kind", ["socket", "http"])
def test_a_document_is_handed_in_from_a_file(keeping: Any, tmp_path: Path, kind: str) -> None:
    way, file = way_to(keeping, kind, tmp_path), tmp_path / "pm.yaml"
    file.write_text(as_yaml(filled("pm")))
    status, told = do("gosuto", "validate", "pm", f"--attach={file}", *way)
    assert (status, told["outcome"]) == (0, "done"), told
    assert "--document=sha256:" in told["said"]
    file.write_text(file.read_text().replace("answer: ask", "answer: maybe"))
    status, told = do("gosuto", "validate", "pm", f"--attach={file}", *way)
    assert status == 1
    assert "answer" in told["error"]["message"]
    assert do("ping", f"--attach={file}", *way)[0] == 2


def test_a_program_need_not_make_the_digest_of_its_document(keeping: Any) -> None:
    alice, document = client_for(keeping, ALICE), as_yaml(filled("pm"))
    told = alice.give("gosuto validate pm", "one", document=document, wait_s=10).json()
    assert told["state"] == "done", told
    assert "--document=sha256:" in told["command"]
    again = alice.give("gosuto validate pm", "one", document=document)
    assert again.json()["id"] == told["id"], "the same key is the same operation"
    other = document.replace("answer: ask", "answer: deny")
    assert other != document
    assert alice.give("gosuto validate pm", "one", document=other).status_code == 409
    broken = document.replace("answer: ask", "answer: maybe")
    refused = alice.give("gosuto validate pm", "two", document=broken)
    assert (refused.status_code, refused.json()["code"]) == (422, "not-taken")
    assert "answer" in refused.json()["detail"]
    assert alice.give("ping", "three", document=document).status_code == 422
    assert alice.give("gosuto validate pm", "four", document="x" * 50_000).status_code == 400


def test_a_value_goes_only_with_a_command_that_takes_one_and_is_let_go(keeping: Any) -> None:
    alice, vera = client_for(keeping, ALICE), client_for(keeping, VERA, "viewer")
    refused = alice.give("ping", "one", value=CANARY)
    assert (refused.status_code, refused.json()["code"]) == (422, "not-taken")
    assert vera.give("secrets set mine", "two", value=CANARY).status_code == 403
    for number in range(40):  # more than there are places for values that wait
        made = alice.give("secrets rotate nothing", f"k{number}", value=CANARY, wait_s=10)
        assert made.json()["state"] == "refused", made.text
    made = alice.give("secrets set mine", "last", value=CANARY, wait_s=10)
    assert made.json()["reply"]["text"] == "mine has version 1 now."
    again = alice.give("secrets set mine", "last", value=f"{CANARY}-2", wait_s=10)
    assert again.json()["id"] == made.json()["id"], "the same key runs nothing twice"
    assert CANARY not in json.dumps([refused.json(), made.json(), again.json()])
    assert leaks(keeping, CANARY) == []
