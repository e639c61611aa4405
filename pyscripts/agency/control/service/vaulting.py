"""The vault of a control plane: built where there is a master key, restored, and kept at work."""

from __future__ import annotations

import os
import pwd
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial

from agency import naming
from agency.clock import new_id
from agency.control.appservice.access import OwnNames
from agency.control.conditions import Code
from agency.control.entrance.counter import Counter, serve
from agency.control.execution.lifecycle import Lifecycle
from agency.control.policy import critical_secrets
from agency.control.rooms.speaking import Speaker
from agency.control.runtimes.handover import redeem_socket
from agency.control.service.handing import AcpAgents
from agency.control.service.shared import Shared, Tokens, new_trace
from agency.control.vault.cipher import VaultError
from agency.control.vault.delivery import Delivery
from agency.control.vault.desk import Report, SecretDesk
from agency.control.vault.forms import Forms
from agency.control.vault.keys import read_keyring
from agency.control.vault.leases import Leases
from agency.control.vault.page import EntryPage
from agency.control.vault.values import Waiting
from agency.control.vault.vault import Vault


@dataclass(slots=True)
class VaultService:
    """The vault at work: what commands use, the page, the sockets of agents, and deliveries."""

    plane: Shared
    lifecycle: Lifecycle
    vault: Vault
    leases: Leases
    waiting: Waiting
    speaker: Speaker
    desk: SecretDesk = field(init=False)
    page: EntryPage = field(init=False)
    delivery: Delivery = field(init=False)
    _sockets: dict[str, tuple[str, AsyncExitStack]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config, plane = self.plane.config, self.plane
        self.vault = replace(self.vault, changed=self._changed)
        self.leases = replace(self.leases, vault=self.vault)
        base_url = config.public_url or f"http://{config.listen_host}:{config.listen_port}"
        forms = Forms(self.vault, base_url, secrets.token_urlsafe, self.speaker)
        self.delivery = Delivery(
            leases=self.leases,
            agents=AcpAgents(self.lifecycle, plane.runtime, plane.acp, self._serve),
            conditions=plane.conditions,
            known=self.lifecycle.agents.keys,
            new_trace=new_trace,
            check_s=config.limits.secret_check_s,
        )
        self.desk = SecretDesk(self.vault, forms, self.waiting, self._push)
        own_names = OwnNames(config.listen_host).check
        self.page = EntryPage(forms, base_url, own_names, self._held_back)

    async def restore(self) -> None:
        """Put the rule for critical secrets into force; call it before any command is taken."""
        await self._changed()

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            await self.delivery.run()
        finally:
            for place in [*self._sockets]:
                await self._unserve(place)

    async def _push(self, agent: str, trace: str) -> Report:
        return await self.delivery.push(agent, trace)

    async def _changed(self) -> None:
        """Follow a change: who must approve what, and what agents shall hold."""
        try:
            found = await self.vault.listed()
        except VaultError as error:
            self.plane.conditions.note(Code.VAULT_UNUSABLE, error.message, hint=error.hint or "")
            return
        names = [each.secret.name for each in found if each.secret.critical]
        self.plane.running().stand(critical_secrets(names))
        self.delivery.wake()

    def _held_back(self) -> str | None:
        """Say why nothing may be changed: a link that was made before does not lead around it."""
        if self.plane.operations is None:
            return "The control plane begins; try it again in a moment."
        mode = self.plane.operations.rules.policy.safe_mode
        return None if mode is None else f"{mode.by} switched to safe mode: nothing is changed."

    async def _serve(self, agent: str) -> None:
        """Open the socket at which an agent redeems, once.

        It lies where its user and unit look for it, and those may have been another agent's before.
        """
        slot = self.plane.inventory.slots.get(agent, agent)
        held = self._sockets.get(slot)
        if held is not None and held[0] == agent:
            return
        await self._unserve(slot)
        kind = self.plane.runtime.kind_of(agent)
        uids = {"process": os.geteuid(), "systemd": _uid_of(slot)}
        counter = Counter(
            agent=agent,
            leases=self.leases,
            clock=self.plane.clock,
            token=partial(self._token, agent),
            new_trace=new_trace,
            uid=uids.get(kind),
        )
        path, stack = redeem_socket(self.plane.config.state_dir, slot), AsyncExitStack()
        self._sockets[slot] = (agent, stack)
        try:
            await stack.enter_async_context(serve(counter, path, shown=kind != "process"))
        except BaseException:
            self._sockets.pop(slot, None)
            raise

    async def _unserve(self, slot: str) -> None:
        _, stack = self._sockets.pop(slot, ("", AsyncExitStack()))
        await stack.aclose()

    def _token(self, agent: str) -> str | None:
        endpoint = self.plane.runtime.endpoint(agent)
        return None if endpoint is None else endpoint.token


def build_vault(
    plane: Shared, tokens: Tokens, lifecycle: Lifecycle, speaker: Speaker
) -> VaultService | None:
    """Build the vault; None for an agency without a master key. `speaker` is to the control room.

    Raises:
        PrerequisiteError: the master key cannot be used.
    """
    if tokens.vault is None:
        return None
    limits = plane.config.limits
    vault = Vault(plane.database, plane.clock, read_keyring(tokens.vault))
    lifecycle.agent_secrets = vault.values_of
    return VaultService(
        plane=plane,
        lifecycle=lifecycle,
        vault=vault,
        leases=Leases(
            vault, limits.secret_lease_s, partial(new_id, "lease"), secrets.token_urlsafe
        ),
        waiting=Waiting(plane.clock, limits.approval_wait_s + limits.max_command_age_s),
        speaker=speaker,
    )


def _uid_of(slot: str) -> int:
    """Return the uid of an agent's or a slot's user; without such a user, one that nobody has."""
    try:
        return pwd.getpwnam(naming.agent_localpart(slot)).pw_uid
    except KeyError:
        return -1
