"""One function for each kind of name, port and number, used by Python and (rendered) by Nix.

Numbers come from a stable hash of the name, never from a position in a list: adding or removing
one agent never renumbers another. Collisions are refused where the instance is loaded.
"""

from __future__ import annotations

import hashlib
import re

MAX_NAME = 30
AGENT_PREFIX = "agent-"
# A Linux user name, which NixOS limits to 31 characters, is made of an agent's name.
MAX_AGENT_NAME = 31 - len(AGENT_PREFIX)

# A container image: a name with its tag, and the id that its content makes.
IMAGE_NAME_PATTERN = "[a-z0-9]+([._/-][a-z0-9]+)*:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
IMAGE_ID_PATTERN = "sha256:[0-9a-f]{64}"


def _pattern(most: int) -> str:
    """Write an expression that Python and Nix (POSIX, extended) read alike; it is matched whole."""
    return f"[a-z]([a-z0-9-]{{0,{most - 2}}}[a-z0-9])?"


def _rule(most: int) -> str:
    return f"1 to {most} of a-z, 0-9 and inner dashes, and begins with a letter"


AGENT_NAME_HINT = f"a name is {_rule(MAX_AGENT_NAME)}"
NAME_PATTERN = _pattern(MAX_NAME)
AGENT_NAME_PATTERN = _pattern(MAX_AGENT_NAME)
_NAME = re.compile(NAME_PATTERN)
_RECIPE_LABEL = "ci"
# Below the domain, the longest host name (253 characters) is that of a recipe.
MAX_DOMAIN = 253 - len(f".{_RECIPE_LABEL}.") - MAX_NAME

AGENT_UIDS = range(4000, 30000)
CONTAINER_UIDS = 1_000_000_000  # added to an agent's uid where it runs in containers
AGENT_PORTS = range(20000, 32000)  # below the kernel's ephemeral range

AGENTS_GROUP = "agents"
AGENTS_GID = 3999
CONTROL_UID = 3998  # fixed, because firewall rules name it
CONTROL_USER = "agency-control"
AGENTS_SLICE = "agency-agents"
AGENT_UNIT = "agency-agent@"
CONTROL_LOCALPART = "agency"
CONTROL_ROOM_LOCALPART = "control"
APPROVALS_ROOM_LOCALPART = "approvals"
AUDIT_ROOM_LOCALPART = "audit"
APPSERVICE_ID = "agency"

SERVICE_PORTS = {
    "synapse": 8008,
    "control-api": 8009,
    "control": 8010,
    "element": 8011,
    "gitlab": 8012,
    "grafana": 8013,
    "prometheus": 8014,
    "drone": 8015,
    "bridge": 8016,
    "dashboard": 8017,
    "registry": 8018,
    "woodpecker": 8019,
    "woodpecker-agents": 8020,
    "drone-runner": 8021,
    "synapse-metrics": 8022,
    "node-exporter": 8023,
    "process-exporter": 8024,
    "blackbox-exporter": 8025,
    "oidc-provider": 8026,
    "alertmanager": 8027,
    "models": 8028,
    "runner": 8029,
    "traefik-http": 8080,
    "traefik": 8443,
}

# Ports below 32000 that other parts of a full host have taken.
MACHINE_PORTS = {
    "docker swarm": 2377,
    "gitlab-sidekiq": 3807,
    "postgresql": 5432,
    "k3s": 6443,
    "k3s load balancer": 6444,
    "docker swarm gossip": 7946,
    "gitlab-gitaly": 9236,
    "k3s cloud controller": 10258,
    "kubelet health": 10248,
    "kube-proxy metrics": 10249,
    "kubelet": 10250,
    "k3s scheduler": 10259,
    "k3s controller manager": 10257,
    "flannel health": 10256,
}

# Uids of services that would get another at each start: firewall rules name who answers on a port.
SERVICE_UIDS = {
    "incidents": 3989,
    "drone": 3990,
    "woodpecker": 3991,
    "registry": 3992,
    "recipes": 3993,
    "blackbox-exporter": 3994,
    "drone-runner": 3995,
    "alertmanager": 3996,
    "proxy": 3997,
}

# What the edge publishes, each under its own host name.
PUBLIC_SERVICES = (
    "matrix",
    "element",
    "gitlab",
    "grafana",
    "drone",
    "woodpecker",
    "registry",
    "bridge",
    "dashboard",
    "traefik",
)


def is_name(text: str) -> bool:
    """Return whether `text` may be a name: a-z, 0-9 and inner dashes, at most MAX_NAME long."""
    return _NAME.fullmatch(text) is not None


def is_agent_name(text: str) -> bool:
    """Return whether `text` may name an agent: a name of at most MAX_AGENT_NAME characters."""
    return is_name(text) and len(text) <= MAX_AGENT_NAME


def _stable_index(kind: str, name: str, size: int) -> int:
    digest = hashlib.sha256(f"agency/{kind}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % size


def agent_uid(name: str) -> int:
    """Derive the uid of an agent whose instance sets none."""
    return AGENT_UIDS[_stable_index("uid", name, len(AGENT_UIDS))]


def container_uid(name: str) -> int:
    """Derive the uid of an agent in its containers: one that no user of the machine has."""
    return CONTAINER_UIDS + agent_uid(name)


def agent_port(name: str) -> int:
    """Derive the loopback port (ACP) of an agent whose instance sets none."""
    return AGENT_PORTS[_stable_index("acp-port", name, len(AGENT_PORTS))]


def agent_user(name: str) -> str:
    """Name the OS user of an agent."""
    return f"{AGENT_PREFIX}{name}"


def agent_unit(name: str) -> str:
    """Name the systemd unit that runs an agent."""
    return f"{AGENT_UNIT}{name}.service"


def agent_localpart(name: str) -> str:
    """Name the localpart of an agent's Matrix user, which lies in the appservice's namespace."""
    return f"{AGENT_PREFIX}{name}"


def matrix_id(localpart: str, domain: str) -> str:
    """Make a full Matrix user id."""
    return f"@{localpart}:{domain}"


def control_room_alias(domain: str) -> str:
    """Name the alias of the control room."""
    return room_alias(CONTROL_ROOM_LOCALPART, domain)


def room_alias(localpart: str, domain: str) -> str:
    """Name the full alias of a room that the control plane keeps."""
    return f"#{localpart}:{domain}"


def public_host(service: str, domain: str) -> str:
    """Name the host under which a service is reached from outside, behind the edge."""
    return f"{service}.{domain}"


def recipe_host(recipe: str, domain: str) -> str:
    """Name the host of a recipe under test; Traefik serves all names below this label."""
    return f"{recipe}.{_RECIPE_LABEL}.{domain}"


def facts() -> dict[str, object]:
    """Return all facts that Nix needs of this module, as data for a JSON file."""
    return {
        "name": {"most": MAX_NAME, "pattern": NAME_PATTERN},
        "agents": {
            "mostOfName": MAX_AGENT_NAME,
            "namePattern": AGENT_NAME_PATTERN,
            "prefix": AGENT_PREFIX,
            "group": AGENTS_GROUP,
            "slice": AGENTS_SLICE,
            "unit": AGENT_UNIT,
            "uids": {"lowest": AGENT_UIDS.start, "highest": AGENT_UIDS.stop - 1},
        },
        "control": {"user": CONTROL_USER},
        "serviceUids": dict(SERVICE_UIDS),
    }
