"""Rendered documents in JSON: instance.json, control.json, Element's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agency import naming
from agency.instance.model import Instance
from agency.instance.needs import model_key, required_secrets


@dataclass(frozen=True, slots=True)
class ProxyPlace:
    """Places of a metering proxy; `{agent}` stands for an agent's name in the last two."""

    listening: Mapping[str, Any]  # host and port, or a socket
    database: str
    token_file: str
    gosuto: str
    audit_socket: str | None = None


# The control plane writes there, and the proxy reads.
_MODELS = "/var/lib/agency-models"
_TOKENS, _POLICIES = f"{_MODELS}/tokens", f"{_MODELS}/gosuto"
_AUDIT_SOCKET = "/run/agency-audit.sock"
HOST_PROXY = ProxyPlace(
    {"host": "127.0.0.1", "port": naming.SERVICE_PORTS["models"]},
    "/var/lib/agency-proxy/ledger.db",
    f"{_TOKENS}/{{agent}}.sha256",
    f"{_POLICIES}/{{agent}}.json",
    _AUDIT_SOCKET,
)
HOST_RUNTIME = "systemd"  # of agents that name none
CONTROL_STATE = "/var/lib/agency-control"


def instance_document(instance: Instance, source_digest: str) -> dict[str, Any]:
    """Return the document for Nix: the instance with its defaults and all derived values."""
    document = instance.model_dump(mode="json", by_alias=True)
    resolved = [
        agent.model_dump(mode="json", by_alias=True) for agent in instance.resolved_agents()
    ]
    for agent in resolved:
        document["agents"][agent["name"]] |= {"uid": agent["uid"], "port": agent["port"]}
    return {
        **document,
        "agentsResolved": resolved,
        "ports": dict(naming.SERVICE_PORTS),
        "names": _names(instance),
        "secretsRequired": _secrets(instance),
        "sourceDigest": source_digest,
    }


def _names(instance: Instance) -> dict[str, Any]:
    domain = instance.domain
    return {
        "appserviceId": naming.APPSERVICE_ID,
        "controlLocalpart": naming.CONTROL_LOCALPART,
        "controlMatrixId": naming.matrix_id(naming.CONTROL_LOCALPART, domain),
        "controlRoomAlias": naming.control_room_alias(domain),
        "agentsGroup": naming.AGENTS_GROUP,
        "agentsGid": naming.AGENTS_GID,
        "controlUid": naming.CONTROL_UID,
        "hosts": {name: naming.public_host(name, domain) for name in naming.PUBLIC_SERVICES},
    }


def _secrets(instance: Instance) -> list[dict[str, Any]]:
    return [
        {
            "name": spec.name,
            "class": spec.cls.value,
            "owner": spec.owner,
            "mode": spec.mode,
            "consumers": list(spec.consumers),
            "optional": spec.optional,
            "stored": spec.stored,
            "generator": spec.generator.value,
        }
        for spec in required_secrets(instance)
    ]


def homeserver_url() -> str:
    """Return the address at which the homeserver listens on its own machine."""
    return f"http://127.0.0.1:{naming.SERVICE_PORTS['synapse']}"


def control_document(instance: Instance) -> dict[str, Any]:
    """Return the control plane's configuration on a NixOS host (agency.control.config)."""
    return {
        "instance": instance.name,
        "domain": instance.domain,
        "homeserver_url": homeserver_url(),
        "listen_host": "127.0.0.1",
        "listen_port": naming.SERVICE_PORTS["control"],
        "bot_id": naming.matrix_id(naming.CONTROL_LOCALPART, instance.domain),
        "control_room_alias": naming.control_room_alias(instance.domain),
        "operators": list(instance.operators),
        **decision_settings(instance),
        "agents": [
            {
                "name": agent.name,
                "role": agent.role,
                "matrix_id": agent.matrix_id,
                "port": agent.port,
                **({"runtime": agent.runtime} if agent.runtime != HOST_RUNTIME else {}),
                **({"spare": True} if instance.agents[agent.name].spare else {}),
                **_program(instance, agent.name),
            }
            for agent in instance.resolved_agents()
        ],
        **_models(instance),
        "database_url": f"sqlite+aiosqlite:///{CONTROL_STATE}/control.db",
        "state_dir": CONTROL_STATE,
        "runtime": HOST_RUNTIME,
        **({} if instance.docker is None else {"docker": instance.docker.model_dump()}),
    }


def _program(instance: Instance, agent: str) -> dict[str, Any]:
    program = instance.agents[agent].program
    if program is None:
        return {}
    told: dict[str, Any] = {"kind": program.kind, "model": program.model}
    if program.kind == "command":
        told |= {"agent": program.agent, "run": program.run, "own_tools": program.own_tools}
    return {"program": told}


def _models(instance: Instance) -> dict[str, Any]:
    """Tell the control plane of a host where the proxy is, and what to leave for it."""
    if instance.models is None:
        return {}
    place = {
        "url": f"http://127.0.0.1:{naming.SERVICE_PORTS['models']}",
        "tokens": _TOKENS,
        "policies": _POLICIES,
        "audit_socket": _AUDIT_SOCKET,
    }
    return {"models": place}


def decision_settings(instance: Instance) -> dict[str, Any]:
    """Return what the instance sets: people, approvals, rooms, the log's level, the interval."""
    told: dict[str, Any] = {}
    if instance.approvers:
        told["approvers"] = list(instance.approvers)
    if instance.viewers:
        told["viewers"] = list(instance.viewers)
    rules = [{"name": name, **rule.model_dump()} for name, rule in instance.approvals.rules.items()]
    if rules:
        told["approvals"] = {"rules": rules, "solo_delay_s": instance.approvals.solo_delay}
    rooms = {name: True for name, on in instance.rooms.model_dump().items() if on}
    if rooms:
        told["rooms"] = rooms
    if instance.log_level != "info":
        told["log_level"] = instance.log_level
    if instance.reconcile_interval is not None:
        told["limits"] = {"reconcile_interval_s": instance.reconcile_interval}
    return told


def proxy_document(instance: Instance, place: ProxyPlace) -> dict[str, Any]:
    """Return the configuration of the metering proxy (agency.agent.proxy.config).

    The instance must have models. Each agent's token is in a file that its runtime writes.
    """
    models = instance.models
    assert models is not None
    return {
        **place.listening,
        "database": place.database,
        **({} if place.audit_socket is None else {"auditSocket": place.audit_socket}),
        "providers": {
            name: {
                "url": each.url,
                "format": each.kind,
                **({"credential": model_key(name)} if each.key else {}),
            }
            for name, each in models.providers.items()
        },
        "models": {
            name: each.model_dump(by_alias=True, exclude_none=True)
            for name, each in models.offered.items()
        },
        "accounts": {
            agent.name: {
                "tokenFile": place.token_file.format(agent=agent.name),
                "gosuto": place.gosuto.format(agent=agent.name),
                "models": list(program.allowed),
                **({"slot": True} if instance.agents[agent.name].spare else {}),
                **program.budget.model_dump(by_alias=True, exclude_none=True),
            }
            for agent in instance.resolved_agents()
            if (program := instance.agents[agent.name].program) is not None
        },
    }


def element_document(instance: Instance) -> dict[str, Any]:
    """Return Element's config.json: only this homeserver, no guests, no outside servers."""
    if instance.services.edge.enable:
        base_url = f"https://{naming.public_host('matrix', instance.domain)}"
    else:
        base_url = homeserver_url()
    return {
        "brand": "Agency",
        "default_server_config": {
            "m.homeserver": {"base_url": base_url, "server_name": instance.domain}
        },
        "disable_custom_urls": True,
        "disable_guests": True,
        "disable_3pid_login": True,
        "integrations_ui_url": None,
        "integrations_rest_url": None,
        "room_directory": {"servers": [instance.domain]},
        "show_labs_settings": False,
    }
