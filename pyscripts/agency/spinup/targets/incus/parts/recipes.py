"""Part `recipes`: the swarm, Traefik on it, and the bridge, the runner and the dashboard.

supplies ─▶ guest: abra, recipe, images ─▶ activation ─▶ reconcilers: swarm, network, Traefik
                                                │                       │ a second run of each
                                                └─▶ shop.* ─────────────┴─▶ recipes.converged

A guest has no network, so what a host would fetch comes from the directory of `--supplies`:
`abra/bin/abra` (with files beside it, if it needs some), `traefik/` (the recipe) and `images/*.tar`
(as `docker save` writes them).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from agency import naming
from agency.archive import archive, tree
from agency.clock import Clock
from agency.errors import BadInputError, PrerequisiteError
from agency.guests import Guest, GuestFile
from agency.instance import Instance
from agency.secrets import (
    FORGE_BOT_TOKEN,
    WILDCARD_CERTIFICATE,
    WILDCARD_CERTIFICATE_KEY,
    Generator,
    SecretValue,
    generate,
)
from agency.spinup.probes import recipes
from agency.spinup.record import Evidence
from agency.spinup.targets.incus.parts import Part, Shop
from agency.spinup.targets.incus.parts.edge.certificate import make_certificates
from agency.transcript import is_abra

PLACE = PurePosixPath("/opt/agency-recipes")
SERVICES = ("swarm", "traefik", "ci", "bridge", "dashboard")
_ABRA, _COMPOSE = Path("abra/bin/abra"), Path("traefik/compose.yml")
_PORTS = {"80": "traefik-http", "443": "traefik"}
_PUBLISHED = re.compile(r"(?P<key>\bpublished:\s*)(?P<port>80|443)\b")
_TRAEFIK = recipes.RECONCILERS["traefik"]
_PUSH_S, _LOAD_S, _DEPLOYED_S, _AGAIN_S = 120.0, 120.0, 150.0, 150.0
_POLL_S = 0.5
_SHOWN = "--property=Result,ExecMainExitTimestamp"
_HINT = "docs/guests.md says what it holds"


@dataclass(slots=True)
class RecipesPart(Part):
    """See Part."""

    name: ClassVar[str] = "recipes"
    # iptables is one of its alternatives when it is configured alone.
    packages: ClassVar[tuple[str, ...]] = (
        *("iptables", "libip4tc2", "libip6tc2", "libxtables12", "netbase"),
        *("libnetfilter-conntrack3", "libnfnetlink0"),
    )
    unpacked: ClassVar[tuple[str, ...]] = (
        *("docker.io", "containerd", "runc", "libdevmapper1.02.1"),
        "git",  # without what it takes to fetch
    )
    exported: ClassVar[bool] = True
    clock: Clock = field(default_factory=Clock)

    def refuse_lacking(self) -> None:
        """See Part."""
        if self.supplies is None:
            raise PrerequisiteError(
                "part recipes needs abra, Traefik's recipe and images, and a guest fetches nothing",
                where="--supplies",
                hint=f"name a directory with them; {_HINT}",
            )
        for path in (_ABRA, _COMPOSE):
            if not (self.supplies / path).is_file():
                raise PrerequisiteError("is not there", where=str(self.supplies / path), hint=_HINT)

    def adapt(self, document: MutableMapping[str, Any]) -> None:
        """See Part: a host that tests recipes."""
        services = document.get("services") or {}
        for service in SERVICES:
            services[service] = {**(services.get(service) or {}), "enable": True}
        document["services"] = services

    def secrets(self, instance: Instance) -> Mapping[str, SecretValue]:
        """See Part: what an operator brings to a host; the token is of no forge."""
        made = make_certificates(instance.domain, self.clock.utc())
        return {
            FORGE_BOT_TOKEN: generate(Generator.TOKEN),
            WILDCARD_CERTIFICATE: SecretValue(made.chain),
            WILDCARD_CERTIFICATE_KEY: SecretValue(made.key),
        }

    async def bring(self, guest: Guest) -> None:
        """See Part."""
        assert self.supplies is not None
        packed = await asyncio.to_thread(lambda: archive(_members(self._from)))
        await guest.run("mkdir", "--parents", str(PLACE))
        await guest.unpack(packed, PLACE, timeout_s=_PUSH_S)
        said = await guest.run(str(PLACE / _ABRA), "--version")
        self.simulated = () if is_abra(said.decode().strip()) else ("shop.traefik",)

    @property
    def _from(self) -> Path:
        assert self.supplies is not None  # see refuse_lacking
        return self.supplies

    async def activated(self, guest: Guest) -> None:
        """See Part: Docker takes the images, and Traefik's reconciler ends.

        A failure of it is for the probe to find.
        """
        for image in sorted((self._from / "images").glob("*.tar")):
            inside = PLACE / "images" / image.name
            await guest.run("docker", "load", "--quiet", "--input", str(inside), timeout_s=_LOAD_S)
            await guest.run("rm", str(inside))
        until = self.clock.steady() + _DEPLOYED_S
        while self.clock.steady() < until:
            shown = await guest.run("systemctl", "show", _SHOWN, _TRAEFIK)
            told = dict(line.split("=", 1) for line in shown.decode().splitlines())
            if told["Result"] == "success" and told["ExecMainExitTimestamp"]:
                return
            await asyncio.sleep(_POLL_S)

    async def at(self, step: str, shop: Shop) -> None:
        """See Part: after the services' own probes, every reconciler runs once more."""
        if step == "probe":
            assert shop.examination is not None  # people have accounts by then
            assert shop.examination.shop is not None
            await shop.examination.shop.also(SERVICES, shop.instance)
        if step == "converge":
            await shop.run.probe(recipes.PROBE, lambda: self._converged(shop))

    async def _converged(self, shop: Shop) -> Evidence:
        for unit in recipes.RECONCILERS.values():
            # A run that fails has said so in its journal, which the probe reads.
            await shop.guest.look("systemctl", "start", unit, timeout_s=_AGAIN_S)
        return await shop.observe(recipes.PROBE, {"abra": str(PLACE / _ABRA)})


def _members(supplies: Path) -> Iterator[tuple[str, Path | GuestFile]]:
    """List what goes into the guest; the recipe's ports are moved, as modules/traefik.nix does."""
    for name, path in tree(supplies):
        if path == supplies / _COMPOSE:
            yield name, GuestFile(moved(path.read_text(), str(path)).encode())
        else:
            yield name, path


def moved(compose: str, where: str) -> str:
    """Move the published ports 80 and 443 to those behind the edge.

    Raises:
        BadInputError: it does not publish each of them once.
    """
    found = sorted(match["port"] for match in _PUBLISHED.finditer(compose))
    if found != ["443", "80"]:
        raise BadInputError(
            "publishes its ports in a way that is not known here, so they cannot be moved",
            where=where,
            hint="take a release of the recipe with one `published: 80` and one `published: 443`",
        )
    return _PUBLISHED.sub(
        lambda match: match["key"] + str(naming.SERVICE_PORTS[_PORTS[match["port"]]]), compose
    )


def make() -> RecipesPart:
    """See make_part."""
    return RecipesPart()
