"""The register of secrets: changed under one seal, and refused when it was tampered with."""

from __future__ import annotations

from pathlib import Path

import pytest
from vaulting import CANARY, Safe, entry, master_key, wanted

from agency.control.execution.result import RefusalError
from agency.control.vault.cipher import KeyLostError, TamperedError
from agency.secrets import SecretValue

VALUE = SecretValue(CANARY)
NEXT = SecretValue(f"{CANARY}-next")


async def redeemed(safe: Safe, agent: str = "pm", *keys: str) -> dict[str, str]:
    leases = safe.leases(safe.vault(*keys))
    offers = await leases.offer(agent)
    return {
        each.secret: (await leases.redeem(agent, each.lease, each.token, entry)).reveal()
        for each in offers
    }


async def test_a_secret_is_made_bound_changed_and_erased(safe: Safe) -> None:
    vault = safe.vault()
    assert await vault.listed() == []
    await vault.put(wanted(), VALUE)
    assert await vault.bind("github", "pm", "@alice:x.org")
    assert not await vault.bind("github", "pm", "@alice:x.org")
    found = await vault.info("github")
    assert (found.secret.version, found.agents) == (1, ("pm",))
    assert await redeemed(safe) == {"github": CANARY}
    await vault.put(wanted(version=2), NEXT)
    assert await redeemed(safe) == {"github": f"{CANARY}-next"}
    assert await vault.unbind("github", "pm")
    assert not await vault.unbind("github", "pm")
    assert await redeemed(safe) == {}
    await vault.delete("github")
    assert await vault.listed() == []
    with pytest.raises(RefusalError, match="there is no secret github"):
        await vault.info("github")


async def test_what_is_released_holds_nothing_and_nobody_else_loses_anything(safe: Safe) -> None:
    vault = safe.vault()
    for name in ("github", "gitlab"):
        await vault.put(wanted(name), VALUE)
        await vault.bind(name, "helper", "@alice:x.org")
    await vault.bind("github", "pm", "@alice:x.org")
    assert await vault.release("helper") == 2
    assert await vault.release("helper") == 0
    assert await redeemed(safe, "helper") == {}
    assert await redeemed(safe) == {"github": CANARY}


async def test_no_value_is_in_the_database_and_an_old_one_is_not_even_encrypted(
    safe: Safe, database_file: Path
) -> None:
    vault = safe.vault()
    await vault.put(wanted(), VALUE)
    (before,) = await safe.rows("SELECT ciphertext FROM secrets")
    await vault.put(wanted(version=2), NEXT)
    (after,) = await safe.rows("SELECT ciphertext FROM secrets")
    assert before != after
    stored = b"".join(path.read_bytes() for path in database_file.parent.glob("control.db*"))
    assert b"github" in stored
    assert CANARY.encode() not in stored


async def test_a_version_that_came_second_is_refused(safe: Safe) -> None:
    vault = safe.vault()
    await vault.put(wanted(), VALUE)
    for version in (1, 3):
        with pytest.raises(RefusalError, match="changed meanwhile"):
            await vault.put(wanted(version=version), NEXT)
    assert (await vault.info("github")).secret.version == 1


async def two(safe: Safe) -> None:
    """Two secrets, one of them bound to an agent and changed once."""
    vault = safe.vault()
    await vault.put(wanted(), VALUE)
    await vault.put(wanted("gitlab"), NEXT)
    await vault.bind("github", "pm", "@alice:x.org")


TAMPERING = {
    "another ciphertext": "UPDATE secrets SET ciphertext = 'AAAA' WHERE name = 'github'",
    "another type": "UPDATE secrets SET type = 'json' WHERE name = 'github'",
    "another version": "UPDATE secrets SET version = 2 WHERE name = 'github'",
    "critical no more": "UPDATE secrets SET critical = 1 WHERE name = 'github'",
    "a binding added": "INSERT INTO secret_bindings VALUES ('gitlab', 'pm', 'x', 1)",
    "a binding taken": "DELETE FROM secret_bindings",
    "a secret taken": "DELETE FROM secrets WHERE name = 'gitlab'",
    "the seal taken": "DELETE FROM meta WHERE key = 'vault_seal'",
    "the seal broken": "UPDATE meta SET value = 'x' WHERE key = 'vault_seal'",
}


@pytest.mark.parametrize("statement", TAMPERING.values(), ids=TAMPERING)
async def test_what_was_changed_past_the_control_plane_is_neither_used_nor_sealed(
    safe: Safe, statement: str
) -> None:
    await two(safe)
    assert await redeemed(safe) == {"github": CANARY}
    await safe.execute(statement)
    with pytest.raises(TamperedError, match=r"outside.*control plane"):
        await redeemed(safe)
    if "ciphertext" not in statement:  # the seal is of the nonce; the cipher finds this one
        for call in (
            safe.vault().put(wanted("third"), VALUE),
            safe.vault().delete("gitlab"),
            safe.vault().bind("github", "developer", "@alice:x.org"),
        ):
            with pytest.raises(TamperedError):
                await call


async def test_swapped_rows_are_refused(safe: Safe) -> None:
    await two(safe)
    for statement in (
        "UPDATE secrets SET name = 'swap' WHERE name = 'github'",
        "UPDATE secrets SET name = 'github' WHERE name = 'gitlab'",
        "UPDATE secrets SET name = 'gitlab' WHERE name = 'swap'",
    ):
        await safe.execute(statement)
    with pytest.raises(TamperedError):
        await redeemed(safe)


@pytest.mark.parametrize("as_newer", [False, True], ids=["whole", "under the new version"])
async def test_an_old_version_that_was_put_back_is_refused(safe: Safe, as_newer: bool) -> None:
    await two(safe)
    (old,) = await safe.rows("SELECT version, nonce, ciphertext FROM secrets WHERE name='github'")
    await safe.vault().put(wanted(version=2), NEXT)
    assert await redeemed(safe) == {"github": f"{CANARY}-next"}
    version, nonce, ciphertext = old
    await safe.execute(
        "UPDATE secrets SET version = :v, nonce = :n, ciphertext = :c WHERE name = 'github'",
        v=2 if as_newer else version,
        n=nonce,
        c=ciphertext,
    )
    with pytest.raises(TamperedError):
        await redeemed(safe)


async def test_an_old_seal_that_was_put_back_is_refused(safe: Safe) -> None:
    await two(safe)
    (old,) = await safe.rows("SELECT value FROM meta WHERE key = 'vault_seal'")
    await safe.vault().unbind("github", "pm")
    await safe.execute("UPDATE meta SET value = :v WHERE key = 'vault_seal'", v=old[0])
    with pytest.raises(TamperedError):
        await safe.vault().listed()


async def test_the_master_key_is_changed_batch_by_batch_and_each_is_whole(safe: Safe) -> None:
    """Whatever ends the program between two batches, everything is readable with both keys."""
    vault = safe.vault()
    for number in range(45):
        await vault.put(wanted(f"secret-{number}"), SecretValue(f"{CANARY}-{number}"))
    new = master_key()
    left = [await safe.vault(new, safe.key).reencrypt()]
    assert left == [25]
    for number in range(45):  # a fresh control plane, with both keys
        await safe.vault(new, safe.key).bind(f"secret-{number}", f"a{number}", "@alice:x.org")
        held = await redeemed(safe, f"a{number}", new, safe.key)
        assert held == {f"secret-{number}": f"{CANARY}-{number}"}
    with pytest.raises(KeyLostError, match="not loaded"):
        await redeemed(safe, "a44", new)
    while left[-1]:
        left.append(await safe.vault(new, safe.key).reencrypt())
    assert left == [25, 5, 0]
    assert await redeemed(safe, "a44", new) == {"secret-44": f"{CANARY}-44"}
    with pytest.raises(KeyLostError):
        await safe.vault().listed()


async def test_a_tampered_value_is_not_encrypted_anew(safe: Safe) -> None:
    await two(safe)
    await safe.execute(TAMPERING["another ciphertext"])
    before = await safe.rows("SELECT * FROM secrets ORDER BY name")
    with pytest.raises(TamperedError):
        await safe.vault(master_key(), safe.key).reencrypt()
    assert await safe.rows("SELECT * FROM secrets ORDER BY name") == before


async def test_an_agent_has_a_bounded_number_of_secrets(safe: Safe) -> None:
    vault = safe.vault()
    for number in range(33):
        await vault.put(wanted(f"secret-{number}"), VALUE)
    for number in range(32):
        assert await vault.bind(f"secret-{number}", "pm", "@alice:x.org")
    with pytest.raises(RefusalError, match="may have no more"):
        await vault.bind("secret-32", "pm", "@alice:x.org")
    assert await vault.bind("secret-32", "developer", "@alice:x.org")
