"""Limits of an agent's Gosuto, which narrow its account and never widen it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agency.agent.proxy.config import Account, Model
from agency.agent.proxy.refusals import Refusal
from agency.canonical import sha256_hex
from agency.errors import AgencyError
from agency.gosuto import Document, read_canonical
from agency.settings import read_bounded


def narrowed(account: Account, document: Document, models: Mapping[str, Model]) -> Account:
    """Apply `limits.*` and `persona.provider` of a Gosuto to an account. Pure.

    Of two limits the lower one holds; with a provider, only its models are left.
    """
    limits, provider = document.limits, document.persona.provider
    changes = {
        "models": tuple(
            each for each in account.models if provider in (None, models[each].provider)
        ),
        "requests_per_minute": _lower(account.requests_per_minute, limits.requests_per_minute),
        "concurrent_requests": _lower(account.concurrent_requests, limits.concurrent_requests),
        "tokens_per_request": _lower(account.tokens_per_request, limits.tokens_per_request),
        "usd_per_month": _lower(account.usd_per_month, limits.cost_usd_per_month),
    }
    return account.model_copy(update=changes)


def _lower(*limits: float | None) -> float | None:
    return min((each for each in limits if each is not None), default=None)


@dataclass(slots=True)
class Policies:
    """Accounts as their Gosuto narrows them; a changed file counts from the next call on."""

    models: Mapping[str, Model]
    _read: dict[str, tuple[tuple[int, ...], Account]] = field(default_factory=dict)

    def account(self, agent: str, account: Account) -> Account:
        """Return the account of an agent.

        Raises:
            Refusal: its Gosuto cannot be read, or is another agent's: then it may nothing.
        """
        if account.gosuto is None:
            return account
        try:
            found = account.gosuto.stat()
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            known = self._read.get(agent)
            if known is None or known[0] != state:
                known = (state, narrowed(account, _document(agent, account), self.models))
                self._read[agent] = known
        except (OSError, AgencyError):
            self._read.pop(agent, None)
            raise Refusal(
                403, "policy", f"the policy of {agent} cannot be read, so that no call is made"
            ) from None
        return known[1]


def _document(agent: str, account: Account) -> Document:
    assert account.gosuto is not None
    content = read_bounded(account.gosuto, what="the Gosuto")
    document = read_canonical(content, sha256_hex(content))
    if document.metadata.name != agent and not account.slot:
        raise AgencyError("it is the Gosuto of another agent")
    return document
