"""Leases: redeemed once, in time, by the agent that they were made for, while it is bound."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from vaulting import CANARY, Safe, entry, wanted

from agency.control.vault.leases import Offer, RedemptionError
from agency.secrets import SecretValue


@pytest.fixture
async def offer(safe: Safe) -> Offer:
    vault = safe.vault()
    await vault.put(wanted(), SecretValue(CANARY))
    await vault.bind("github", "pm", "@alice:x.org")
    (made,) = await safe.leases().offer("pm")
    return made


async def redeem(safe: Safe, offer: Offer, agent: str = "pm", token: str = "") -> str:
    given = SecretValue(token) if token else offer.token
    return (await safe.leases().redeem(agent, offer.lease, given, entry)).reveal()


async def test_an_offer_has_no_value_and_its_token_is_not_stored(safe: Safe, offer: Offer) -> None:
    assert CANARY not in repr(offer)
    assert offer.token.reveal() not in repr(offer)
    assert offer.token.reveal() not in str(await safe.rows("SELECT * FROM secret_leases"))
    assert await redeem(safe, offer) == CANARY


async def test_redeemed_again_it_is_refused(safe: Safe, offer: Offer) -> None:
    await redeem(safe, offer)
    with pytest.raises(RedemptionError, match="redeemed before"):
        await redeem(safe, offer)


@pytest.mark.parametrize(
    ("agent", "token", "why"),
    [("developer", "", "no such lease of developer"), ("pm", "guessed", "does not belong")],
)
async def test_another_agent_or_a_guess_is_refused_and_uses_nothing_up(
    safe: Safe, offer: Offer, agent: str, token: str, why: str
) -> None:
    with pytest.raises(RedemptionError, match=why):
        await redeem(safe, offer, agent, token)
    assert await redeem(safe, offer) == CANARY


async def test_a_foreign_agent_that_is_bound_too_cannot_use_it(safe: Safe, offer: Offer) -> None:
    await safe.vault().bind("github", "developer", "@alice:x.org")
    with pytest.raises(RedemptionError):
        await redeem(safe, offer, "developer")


@pytest.mark.parametrize("seconds", [61, -61], ids=["late", "a clock that was put back"])
async def test_an_offer_lasts_a_minute(safe: Safe, offer: Offer, held: Any, seconds: int) -> None:
    held.seconds += seconds
    with pytest.raises(RedemptionError, match="expired"):
        await redeem(safe, offer)


async def test_in_the_last_second_it_is_redeemed(safe: Safe, offer: Offer, held: Any) -> None:
    held.seconds += 59
    assert await redeem(safe, offer) == CANARY


Change = Callable[[Safe], Awaitable[Any]]
MEANWHILE: dict[str, tuple[Change, str]] = {
    "unbound": (lambda safe: safe.vault().unbind("github", "pm"), "not bound"),
    "rotated": (
        lambda safe: safe.vault().put(wanted(version=2), SecretValue("another value")),
        "another version",
    ),
    "erased": (lambda safe: safe.vault().delete("github"), "not bound"),
}


@pytest.mark.parametrize(("change", "why"), MEANWHILE.values(), ids=MEANWHILE)
async def test_what_changed_between_lease_and_redemption_counts(
    safe: Safe, offer: Offer, change: Change, why: str
) -> None:
    await change(safe)
    with pytest.raises(RedemptionError, match=why):
        await redeem(safe, offer)


async def test_a_refused_redemption_leaves_no_row_of_success(safe: Safe, offer: Offer) -> None:
    await redeem(safe, offer)
    with pytest.raises(RedemptionError):
        await redeem(safe, offer)
    rows = await safe.rows("SELECT target, outcome FROM audit WHERE action = 'secrets redeem'")
    assert rows == [("secret github", "done")]
