"""Services that do not run without others: one table for `agency check` and `agency init`.

The NixOS modules refuse the same by their assertions; a test compares them. A module that a host's
own option satisfies too (ci needs a forge: `agency.forge.url`, which `forge` sets) has no row here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from agency.instance.model import Instance
from agency.yaml_source import Source


class Dependency(NamedTuple):
    """A service, one that it needs, and the reason."""

    service: str
    needs: str
    why: str


DEPENDENCIES = (
    Dependency("element", "edge", "the edge serves Element's files"),
    Dependency("gitlab", "edge", "people reach and log in to GitLab by its name"),
    Dependency("k3s", "matrix", "only the control plane may use the cluster"),
    Dependency("traefik", "swarm", "Traefik is deployed on the swarm"),
    Dependency("traefik", "edge", "port 443 belongs to the edge, which passes names on to Traefik"),
    Dependency("ci", "swarm", "a run deploys its recipe on the swarm"),
    Dependency("ci", "traefik", "a deployed recipe is reached through Traefik"),
    Dependency("bridge", "ci", "the bridge starts runs of the CI"),
    Dependency("dashboard", "ci", "the dashboard shows runs of the CI"),
)
# An option of a host may satisfy these instead, so that only `agency init` tells of them.
_OR_BY_HOST = (
    ("ci", "gitlab", "ci needs a forge: turn gitlab on too, or set forge.url in instance.yaml"),
)
# `agency init` turns it on without being asked.
_ALWAYS_ON = frozenset({"matrix"})


def note_dependencies(source: Source, instance: Instance) -> None:
    """Note a problem for each enabled service that lacks one that it needs."""
    services = instance.services.model_dump(by_alias=True)
    for service, needs, why in DEPENDENCIES:
        if services[service]["enable"] and not services[needs]["enable"]:
            source.add(
                ("services", service),
                f"needs {needs}, which is off: {why}; set `services.{needs}: {{enable: true}}`, "
                f"or turn {service} off",
            )


def left_to_host(services: Collection[str]) -> tuple[str, ...]:
    """Tell what the host must bring, because no chosen service does."""
    return tuple(
        told for one, other, told in _OR_BY_HOST if one in services and other not in services
    )


def with_needed(services: Iterable[str]) -> tuple[tuple[str, ...], tuple[Dependency, ...]]:
    """Add the services that the given ones need, and what those need in turn.

    Returns:
        All services, and for each added one the dependency that asked for it first.
    """
    chosen, added = list(dict.fromkeys(services)), []
    for service in chosen:  # grows while it is read
        for one in DEPENDENCIES:
            if one.service == service and one.needs not in {*chosen, *_ALWAYS_ON}:
                chosen.append(one.needs)
                added.append(one)
    return tuple(chosen), tuple(added)
