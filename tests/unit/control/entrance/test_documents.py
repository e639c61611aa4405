"""Documents that are handed in with a command: kept by digest, bounded, for who may command."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from desk import ALICE, BOB
from gosuto_front import MAKE, GosutoFront
from gosutos import filled

from agency.control.entrance.attaching import attach
from agency.control.entrance.documents import enter_with_document
from agency.control.entrance.enter import Answer, Asked, Entrance
from agency.control.gosuto import documents
from agency.control.operations import OriginKind
from agency.control.policy import People, Policy
from agency.control.store import gosuto as store
from agency.control.store import pruning
from agency.errors import UsageError
from agency.gosuto import GosutoError, as_yaml, canonical, edit, sha256

DOCUMENT = filled("pm")
TEXT = canonical(DOCUMENT).decode()
NAMED = f"--document=sha256:{sha256(DOCUMENT)}"


@pytest.fixture
def front(desk: Any) -> GosutoFront:
    return GosutoFront(
        desk, Policy(People(frozenset({ALICE, BOB}), viewers=frozenset({"@v:x.org"})))
    )


async def entered(
    front: GosutoFront, text: str, document: str, actor: str = ALICE, name: str = "one"
) -> tuple[Answer, list[str]]:
    desk, told = front.desk, list[str]()
    asked = Asked(OriginKind.HTTP, name, actor, text, desk.clock.now_ms(), document=document)
    entrance = Entrance(front.operations, desk.clock, lambda: "t-new")
    call = asyncio.create_task(enter_with_document(entrance, asked, told.append))
    while not call.done():
        await desk.finish(front.operations)
        await asyncio.sleep(0.01)
    return await call, told


async def count(front: GosutoFront) -> int:
    return await front.desk.database.read(store.count_documents)


async def test_a_document_is_kept_for_the_command_that_names_it(front):
    answer, told = await entered(front, f"!agency gosuto validate pm {NAMED}", as_yaml(DOCUMENT))
    assert answer.reply.text.startswith("Valid. The Gosuto of pm has none now"), answer
    assert told == []
    kept = await front.desk.database.read(lambda c: store.document(c, sha256(DOCUMENT)))
    assert kept == TEXT


@pytest.mark.parametrize(
    ("text", "document", "said"),
    [
        (f"!agency gosuto validate pm --document=sha256:{'0' * 64}", TEXT, "does not name it"),
        ("!agency gosuto validate pm", TEXT, "does not name it"),
        ("!agency ping", TEXT, "does not name it"),
        (f"!agency gosuto validate pm {NAMED}", TEXT[:-2], "not YAML"),
        (f"!agency gosuto validate pm {NAMED}", TEXT.replace("gosuto/v1", "v9"), "reads gosuto/v1"),
        ("!agency nonsense", TEXT, ""),
    ],
)
async def test_what_no_command_names_is_not_kept(front, text, document, said):
    _, told = await entered(front, text, document)
    assert said in "".join(told)
    assert await count(front) == 0


@pytest.mark.parametrize("actor", ["@eve:x.org", "@v:x.org"])
async def test_who_may_not_set_hands_in_nothing(front, actor):
    text = f"!agency gosuto set pm {NAMED}"
    answer, _ = await entered(front, text, TEXT, actor)
    assert str(answer.outcome) == "refused"
    assert await count(front) == 0


async def test_they_have_a_limit_and_go_when_nobody_needs_them(front, monkeypatch):
    monkeypatch.setattr(documents, "_MOST", 1)
    other = filled("developer")
    await entered(front, f"!agency gosuto validate pm {NAMED}", TEXT)
    name = f"--document=sha256:{sha256(other)}"
    text = canonical(other).decode()
    _, told = await entered(front, f"!agency gosuto validate pm {name}", text, name="two")
    assert "too many documents" in "".join(told)
    _, told = await entered(front, f"!agency gosuto validate pm {NAMED}", TEXT, name="three")
    assert told == [], "one that is here already needs no place"
    now = front.desk.clock.now_ms()
    await front.desk.database.write(lambda c: pruning.prune(c, now))
    assert await count(front) == 1, "it is not older than that"
    await front.desk.database.write(lambda c: pruning.prune(c, now + 1))
    assert await count(front) == 0


async def test_a_document_that_holds_a_token_is_kept_nowhere(front):
    token = "ghp" + "_" + "A1b2C3" * 6
    leaky = edit(DOCUMENT, [f"persona.prompt=use {token}"])
    text, name = canonical(leaky).decode(), f"--document=sha256:{sha256(leaky)}"
    answer, told = await entered(front, f"!agency gosuto set pm {name}", text)
    assert "holds a GitHub token" in "".join(told)
    assert str(answer.outcome) == "refused"
    assert await count(front) == 0
    said = await front.say(MAKE.replace("Sum it up", f"use {token}"))
    assert token not in said
    assert "version" not in said
    assert await front.versions() == []


def test_a_file_is_checked_before_anything_is_asked(tmp_path):
    file = tmp_path / "pm.yaml"
    file.write_text(as_yaml(DOCUMENT))
    attached = attach("!agency gosuto set pm", file)
    assert attached.text == f"!agency gosuto set pm {NAMED}"
    assert attached.document == TEXT
    assert attach("!agency ping", None).document == ""
    with pytest.raises(UsageError, match="takes no document"):
        attach("!agency agents stop pm", file)
    file.write_text("apiVersion: gosuto/v1\n")
    with pytest.raises(GosutoError, match=r"pm\.yaml:\d+: metadata"):
        attach("!agency gosuto set pm", file)
