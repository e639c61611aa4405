"""The part itself: what it adds to a run, and when it looks."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from agency.chromium import CERTUTIL_HINT, find_browser
from agency.clock import Clock
from agency.instance import Instance
from agency.secrets import WILDCARD_CERTIFICATE, WILDCARD_CERTIFICATE_KEY, SecretValue
from agency.spinup.record import Evidence
from agency.spinup.remote.subject import Entrance
from agency.spinup.targets.incus.parts import Part, Shop
from agency.spinup.targets.incus.parts.edge.certificate import Certificates, make_certificates
from agency.spinup.targets.incus.parts.edge.door import CONVERSATION, USER_AGENT, door
from agency.spinup.targets.incus.parts.edge.login import edge_login

_SERVICES = ("edge", "element")
_CLOCK = Clock()


@dataclass(slots=True)
class EdgePart(Part):
    """See Part."""

    name: ClassVar[str] = "edge"
    # nginx itself is in the image; its stream module is a package of its own.
    packages: ClassVar[tuple[str, ...]] = ("libnginx-mod-stream",)
    exported: ClassVar[bool] = True
    programs: ClassVar[Mapping[str, str]] = {"certutil": CERTUTIL_HINT}
    made: Certificates | None = None

    @property
    def certificates(self) -> Certificates:
        """The run's certificates, made with its secrets."""
        assert self.made is not None
        return self.made

    def refuse_lacking(self) -> None:
        """See Part."""
        find_browser()

    def adapt(self, document: MutableMapping[str, Any]) -> None:
        """See Part: a host with the edge and Element."""
        services = document.get("services") or {}
        for service in _SERVICES:
            services[service] = {**(services.get(service) or {}), "enable": True}
        document["services"] = services

    def secrets(self, instance: Instance) -> Mapping[str, SecretValue]:
        """See Part: what an operator brings to a host."""
        self.made = make_certificates(instance.domain, _CLOCK.utc())
        return {
            WILDCARD_CERTIFICATE: SecretValue(self.made.chain),
            WILDCARD_CERTIFICATE_KEY: SecretValue(self.made.key),
        }

    async def reach(self, shop: Shop) -> Entrance:
        """See Part: over TLS on port 443; the certificate is looked at before anybody comes in."""
        domain, authority = shop.instance.domain, self.certificates.authority

        async def look() -> Evidence:
            return await shop.observe("edge.tls", {"authority": authority, "domain": domain})

        await shop.run.probe("edge.tls", look)
        entrance = await shop.run.held.enter(door(shop.guest, domain, authority))
        shop.run.ports += (urlsplit(entrance.url).port or 0,)
        return entrance

    async def at(self, step: str, shop: Shop) -> None:
        """See Part."""
        if step != "login":
            return
        assert shop.examination is not None  # people have accounts by then
        person = shop.examination.people[0]

        async def addresses() -> Evidence:
            told = {
                "authority": self.certificates.authority,
                "domain": shop.instance.domain,
                "user_id": person.user_id,
                "token": person.access_token,
                "conversation_agent": USER_AGENT,
                "conversation_client": CONVERSATION,
            }
            return await shop.observe("edge.client-address", told)

        await shop.run.probe("edge.client-address", addresses)
        await shop.run.probe("edge.login", lambda: edge_login(shop, self.certificates.authority))
