"""Audit rows of what is asked in rooms, and the model of a Gosuto that names none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agency.agent.programs.work import ModelAddress, WorkConfig, settings_of
from agency.agent.rooms.answering import told
from agency.agent.rooms.inbox import State, Work
from agency.canonical import sha256_hex
from agency.errors import PrerequisiteError
from agency.gosuto import Document

ROOM, ALICE = "!room:agency.example", "@alice:agency.example"


def work(text: str, answer: str | None) -> Work:
    return Work("$event", ROOM, "$root", ALICE, text, State.DONE, 1, answer, None, None, None)


def test_a_row_names_who_asked_and_holds_digests_of_the_texts_alone():
    row = told(work("the salary of Bob", "42 thousand"))
    assert row["asked_sha256"] == sha256_hex(b"the salary of Bob")
    assert row["answer_sha256"] == sha256_hex(b"42 thousand")
    assert (row["message"], row["room"], row["sender"]) == ("$event", ROOM, ALICE)
    assert "salary" not in json.dumps(row)
    assert "answer_sha256" not in told(work("not answered yet", None))


def test_the_gosuto_chooses_the_model_before_the_runtime_does():
    config = WorkConfig(
        gosuto=Path("g"), journal=Path("j"), model=ModelAddress(url="http://127.0.0.1:1")
    )
    names_none = Document.model_validate({"apiVersion": "gosuto/v1", "metadata": {"name": "pm"}})
    names_one = Document.model_validate(
        {**names_none.model_dump(by_alias=True), "persona": {"model": "large"}}
    )
    with pytest.raises(PrerequisiteError, match="names no model"):
        settings_of(config, names_none)
    given = config.model_copy(update={"default_model": "small"})
    assert settings_of(given, names_none).model == "small"
    assert settings_of(given, names_one).model == "large"
