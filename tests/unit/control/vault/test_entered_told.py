"""The room hears of every value that came in by a link, whatever ends the control plane then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError
from vaulting import CANARY, Safe, wanted

from agency.control.execution.result import RefusalError
from agency.control.store import facts
from agency.control.store.facts import Fact
from agency.control.store.outbox import StoredMessage
from agency.control.vault.forms import Forms

ROOM = "!control:x.org"
TOLD = "github has version 1 now: a value was entered by the link that @alice:x.org asked for"


class KilledError(BaseException):
    """Kill -9 at this place."""


async def entered(safe: Safe, **of_vault: Callable[[], Awaitable[None]]) -> Forms:
    """Enter a value by a link; the control plane may end after the commit."""
    vault, links = safe.vault(**of_vault), iter(("first", "second"))
    forms = Forms(vault, "https://x.org", lambda: next(links), safe.speaker())
    await forms.link(wanted(), "t-asked")
    await forms.enter("first", CANARY)
    return forms


async def versions(safe: Safe) -> list[int]:
    return [each.secret.version for each in await safe.vault().listed()]


async def test_killed_right_after_the_commit_the_notice_is_queued(safe: Safe) -> None:
    async def killed() -> None:
        raise KilledError

    with pytest.raises(KilledError):
        await entered(safe, changed=killed)
    assert await versions(safe) == [1]
    (notice,) = await safe.notices()
    assert notice.startswith(TOLD)
    assert CANARY not in notice


@pytest.mark.parametrize("fails", [True, False])
async def test_a_notice_that_cannot_be_queued_lets_no_value_in(
    safe: Safe, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    def broken(*_arguments: Any) -> Any:
        raise OperationalError("INSERT", {}, Exception("disk I/O error"))

    with monkeypatch.context() as patch:
        if fails:
            patch.setattr("agency.control.rooms.speaking.outbox.add", broken)
            with pytest.raises(OperationalError):
                await entered(safe)
        else:
            await entered(safe)
    assert (await versions(safe), len(await safe.notices())) == (([], 0) if fails else ([1], 1))


def homeless(safe: Safe, said: list[StoredMessage]) -> Forms:
    """The links of a control plane that has found no room since it began."""
    speaker = safe.speaker(said.append, room_id=lambda: None)
    return Forms(safe.vault(), "https://x.org", lambda: "link", speaker)


async def test_before_the_room_is_found_again_the_last_one_known_is_told(safe: Safe) -> None:
    def known(connection: Connection) -> None:
        facts.keep(connection, Fact.CONTROL_ROOM, ROOM)

    await safe.database.write(known)
    said: list[StoredMessage] = []
    forms = homeless(safe, said)
    await forms.link(wanted(), "t-asked")
    await forms.enter("link", CANARY)
    assert [each.message.room_id for each in said] == [ROOM]
    assert (await versions(safe), len(await safe.notices())) == ([1], 1)


async def test_where_there_never_was_a_room_nothing_is_stored_and_the_link_stays(
    safe: Safe,
) -> None:
    said: list[StoredMessage] = []
    forms = homeless(safe, said)
    await forms.link(wanted(), "t-asked")
    with pytest.raises(RefusalError, match="no control room could be told"):
        await forms.enter("link", CANARY)
    assert (await versions(safe), said) == ([], [])
    assert (await forms.find("link")).used_ts is None
