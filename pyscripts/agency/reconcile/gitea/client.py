"""gitea-client: the CI engine's OAuth client at a Gitea, and its issued id and secret.

Gitea shows a client's secret once. So what was issued is written at once, and each run asks Gitea
whether it still knows the client by it; a secret that is lost, removed or refused is issued again,
and from then on Gitea refuses the one before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from pydantic import Field

from agency.forge import ForgeError, GiteaClients, OauthClient, gitea_clients
from agency.reconcile.engine.contract import ABSENT, Change, ReconcileError, Settings
from agency.reconcile.issued import Issued
from agency.secrets import FORGE_BOT_TOKEN, SecretValue, read_credential

_SLUG = r"^[a-z0-9][a-z0-9._-]{0,62}$"


class GiteaClientSettings(Settings):
    """Declared state; the client's id and secret are issued as `<issued>-id`, `<issued>-secret`."""

    url: str = Field(pattern=r"^https?://[!-~]+[^/]$")
    name: str = Field(min_length=1, max_length=255)
    redirect_uri: str = Field(pattern=r"^https?://[!-~]+$")
    issued: str = Field(pattern=_SLUG)
    issued_dir: Path = Path("/var/lib/agency/issued")


SETTINGS = GiteaClientSettings


class Step(Enum):
    """Kinds of changes."""

    MAKE = auto()
    ISSUE = auto()
    REMOVE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientChange(Change):
    """One change; `number` is Gitea's of the client that is there."""

    step: Step
    number: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """Clients of that name, the issued id, and whether Gitea accepts the issued secret for it."""

    clients: tuple[OauthClient, ...]
    issued_id: str | None
    accepted: bool


@dataclass(frozen=True, slots=True)
class GiteaClient:
    """Reconciler of the client."""

    clients: GiteaClients
    settings: GiteaClientSettings
    issued: Issued
    token: SecretValue

    def secrets(self) -> tuple[SecretValue, ...]:
        """Return the token and the issued secret."""
        found = self.issued.read(f"{self.settings.issued}-secret")
        return (self.token,) if found is None else (self.token, SecretValue(found))

    async def observe(self) -> Seen:
        """Read Gitea's clients of that name, and ask it about what was issued."""
        with _rights(self.settings.url):
            found = await self.clients.all()
        identity = self.issued.read(f"{self.settings.issued}-id")
        secret = self.issued.read(f"{self.settings.issued}-secret")
        accepted = False
        if identity is not None and secret is not None:
            accepted = await self.clients.accepts(identity, secret)
        ours = tuple(one for one in found if one.name == self.settings.name)
        return Seen(ours, identity, accepted)

    def plan(self, observed: Seen) -> tuple[ClientChange, ...]:
        """List the differences."""
        return plan(self.settings, observed)

    async def apply(self, change: ClientChange) -> None:
        """Make one change."""
        with _rights(self.settings.url):
            await self._apply(change)

    async def _apply(self, change: ClientChange) -> None:
        wanted = self.settings
        if change.step is Step.REMOVE:
            await self.clients.remove(change.number)
            return
        if change.step is Step.MAKE:
            made = await self.clients.make(wanted.name, wanted.redirect_uri)
        else:
            made = await self.clients.change(change.number, wanted.name, wanted.redirect_uri)
        # The id last: who reads both then has a pair.
        self.issued.write(f"{wanted.issued}-secret", made.secret)
        self.issued.write(f"{wanted.issued}-id", made.client_id)


@contextmanager
def _rights(url: str) -> Iterator[None]:
    """Say which right a token lacks.

    Raises:
        ReconcileError: Gitea refused it.
    """
    try:
        yield
    except ForgeError as error:
        if error.status not in (401, 403):
            raise
        raise ReconcileError(
            f"Gitea refuses the token its account's OAuth clients: HTTP {error.status}",
            where=url,
            hint=f"make {FORGE_BOT_TOKEN} a token with the scope write:user",
        ) from None


def plan(settings: GiteaClientSettings, seen: Seen) -> tuple[ClientChange, ...]:
    """List the differences. Pure."""
    part = f"client {settings.name}"
    if not seen.clients:
        return (
            ClientChange(part=part, what="client", before=ABSENT, after="made", step=Step.MAKE),
        )
    ranked = sorted(seen.clients, key=lambda one: (one.client_id != seen.issued_id, one.number))
    keep, *doubles = ranked
    changes = [
        ClientChange(
            part=part,
            what=f"client {double.number}",
            before="a second one of this name",
            after="removed",
            step=Step.REMOVE,
            number=double.number,
        )
        for double in doubles
    ]
    found = _difference(keep, settings, seen)
    if found is not None:
        what, before, after = found
        changes.append(
            ClientChange(
                part=part,
                what=what,
                before=before,
                after=after,
                step=Step.ISSUE,
                number=keep.number,
            )
        )
    return tuple(changes)


def _difference(
    keep: OauthClient, settings: GiteaClientSettings, seen: Seen
) -> tuple[str, str, str] | None:
    """Return the first differing field, from and to. A change of any makes a new secret."""
    if keep.redirect_uris != (settings.redirect_uri,):
        return "redirect URI", " ".join(keep.redirect_uris), settings.redirect_uri
    if not keep.confidential:
        return "confidential", "no", "yes"
    if seen.issued_id is None or keep.client_id != seen.issued_id:
        return "client secret", "not issued here", "issued"
    if not seen.accepted:
        return "client secret", "lost or refused", "issued"
    return None


@asynccontextmanager
async def opened(settings: GiteaClientSettings) -> AsyncIterator[GiteaClient]:
    """Open the reconciler, as the account of the forge's bot."""
    token = read_credential(FORGE_BOT_TOKEN)
    async with gitea_clients(settings.url, token.reveal()) as clients:
        yield GiteaClient(clients, settings, Issued(settings.issued_dir), token)
