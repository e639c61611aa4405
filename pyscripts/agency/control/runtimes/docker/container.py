"""Containers of agents: what is asked of the engine for one, and how its answers read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from agency import naming
from agency.canonical import canonical_json, sha256_hex
from agency.control.runtimes.base import Usage
from agency.control.runtimes.docker.settings import DockerSettings
from agency.control.runtimes.handover import SHOWN_REDEEM_SOCKET
from agency.protocols import TOKEN_CREDENTIAL

LABEL_INSTANCE = "agency.instance"
LABEL_AGENT = "agency.agent"
LABEL_PART = "agency.part"
LABEL_CONFIG = "agency.config"
LABEL_TRACE = "agency.trace"

HANDED = PurePosixPath("/run/agency")  # what the runtime hands to the agent; read-only
STATE = PurePosixPath("/var/lib/agency")  # what the agent keeps
CONFIG_FILE, LINES_SOCKET = "agent.json", "acp.sock"
PYTHON = "/opt/agency/bin/python3"

_MIB = 1024 * 1024
_LOG = {"max-size": "1m", "max-file": "2"}
_SHARED_MEMORY_MIB = 16
_OPEN_FILES = 4096
_HANDLE_LENGTH = 12  # as `docker ps` shows it
_SIGNALLED, _LAST_SIGNAL = 128, 64
# What the engine says of itself when a limit would be dropped with a warning.
_LIMITS = {"MemoryLimit": "memory", "PidsLimit": "processes", "CpuCfsQuota": "processor time"}


@dataclass(frozen=True, slots=True)
class Identity:
    """Names of an agent at the engine; those of another instance differ.

    `part` is empty for its ACP process; no agent's name has the dot before it.
    """

    instance: str
    agent: str
    part: str = ""

    @property
    def container(self) -> str:
        """The container's name. The engine has it once, so that an agent never runs twice."""
        name = f"agency-{self.instance}-{self.agent}"
        return f"{name}.{self.part}" if self.part else name

    @property
    def volume(self) -> str:
        """The name of the volume with the agent's state."""
        return f"{self.container}-state"

    @property
    def labels(self) -> dict[str, str]:
        """The labels by which both are known as this agent's."""
        part = {LABEL_PART: self.part} if self.part else {}
        return {LABEL_INSTANCE: self.instance, LABEL_AGENT: self.agent, **part}

    def owns(self, labels: Mapping[str, str] | None) -> bool:
        """Return whether an object with these labels is this agent's."""
        return self.labels.items() <= (labels or {}).items()


@dataclass(frozen=True, slots=True)
class Inside:
    """Command of a container, as arguments of `agency agent`, and what it sees beside its state."""

    arguments: tuple[str, ...]
    mounts: tuple[Mapping[str, Any], ...]
    groups: tuple[int, ...] = ()  # besides its own


def acp_inside(handed: Path, redeem: Path) -> Inside:
    """Describe the container of an ACP process.

    Two directories are mounted read-only: `handed`, and `redeem` with the socket at which the agent
    redeems its secrets.
    """
    config, lines = str(HANDED / CONFIG_FILE), str(HANDED / LINES_SOCKET)
    return Inside(
        ("run", "--json", "--config", config, "--dial", lines),
        (show(handed, HANDED), show(redeem, PurePosixPath(SHOWN_REDEEM_SOCKET.parent))),
    )


def container_config(
    identity: Identity, settings: DockerSettings, inside: Inside, trace: str, stop_timeout_s: float
) -> dict[str, Any]:
    """Return the engine's configuration of a container of an agent.

    It holds no secret: who may use the engine reads all of it.
    """
    uid = naming.container_uid(identity.agent)
    command, *arguments = inside.arguments
    config: dict[str, Any] = {
        "Image": settings.image_id,
        "Hostname": identity.agent,
        "User": f"{uid}:{uid}",
        "WorkingDir": str(STATE),
        "Entrypoint": [PYTHON, "-I", "-m", "agency", "agent", command],
        "Cmd": arguments,
        "Env": [f"CREDENTIALS_DIRECTORY={HANDED}"],
        "StopSignal": "SIGTERM",
        "StopTimeout": whole_seconds(stop_timeout_s),
        "NetworkDisabled": True,
        "HostConfig": _host_config(identity, settings, inside),
    }
    digest = sha256_hex(canonical_json(config))
    config["Labels"] = {**identity.labels, LABEL_CONFIG: digest, LABEL_TRACE: trace}
    return config


def _host_config(identity: Identity, settings: DockerSettings, inside: Inside) -> dict[str, Any]:
    memory = settings.memory_mib * _MIB
    return {
        "Privileged": False,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "GroupAdd": [str(each) for each in inside.groups],
        # The engine's own seccomp profile applies, because none is named; `refusals` asks for it.
        "SecurityOpt": ["no-new-privileges:true"],
        "NetworkMode": "none",
        "IpcMode": "private",
        "Init": True,  # pid 1 has no default for SIGTERM, and nobody would reap what it adopts
        "Memory": memory,
        "MemorySwap": memory,  # of both together: no swap
        "NanoCpus": int(settings.cpus * 1e9),
        "PidsLimit": settings.pids,
        "ShmSize": _SHARED_MEMORY_MIB * _MIB,
        "Ulimits": [
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "nofile", "Soft": _OPEN_FILES, "Hard": _OPEN_FILES},
        ],
        "Tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,mode=1777,size={settings.tmp_mib}m"},  # noqa: S108 - in the container
        "Mounts": [
            *inside.mounts,
            {
                "Type": "volume",
                "Source": identity.volume,
                "Target": str(STATE),
                "VolumeOptions": {"Labels": identity.labels},
            },
        ],
        "LogConfig": {"Type": "json-file", "Config": _LOG},
        # The control plane decides about restarts.
        "RestartPolicy": {"Name": "no"},
    }


def show(source: Path, target: PurePosixPath) -> dict[str, Any]:
    """Mount what the machine has, to be read alone."""
    return {"Type": "bind", "Source": str(source), "Target": str(target), "ReadOnly": True}


def whole_seconds(seconds: float) -> int:
    """Round a time up, because the engine counts whole seconds and takes 0 as: kill at once."""
    return max(1, -int(-seconds // 1))


def refusals(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Return why an engine is not fit to hold agents, from what it says of itself."""
    options = [str(each).split(",") for each in info.get("SecurityOptions") or ()]
    seccomp = next((each for each in options if "name=seccomp" in each), None)
    found = []
    if seccomp is None or "profile=unconfined" in seccomp:
        found.append("it runs containers without a seccomp profile")
    missing = [word for key, word in _LIMITS.items() if info.get(key) is not True]
    if missing:
        found.append(f"it cannot limit {' and '.join(missing)}")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Seen:
    """One container of an agent, as the engine describes it."""

    id: str
    running: bool
    started_at: float | None  # seconds since the epoch
    exit_status: int | None
    out_of_memory: bool
    labels: Mapping[str, str]

    @property
    def handle(self) -> str:
        """The short id, as the engine's own tools show it."""
        return self.id[:_HANDLE_LENGTH]


def seen_container(document: Mapping[str, Any]) -> Seen:
    """Read the engine's description of a container."""
    state = document["State"]
    running = bool(state.get("Running"))
    started_at = _moment(str(state.get("StartedAt", "")))
    return Seen(
        id=str(document["Id"]),
        running=running,
        started_at=started_at,
        # One that was created and never started has none.
        exit_status=None if running or started_at is None else _exit_status(state["ExitCode"]),
        out_of_memory=bool(state.get("OOMKilled")),
        labels=document.get("Config", {}).get("Labels") or {},
    )


def _exit_status(code: int) -> int:
    """Return an exit status as the other runtimes have it: negative for a signal."""
    return _SIGNALLED - code if _SIGNALLED < code <= _SIGNALLED + _LAST_SIGNAL else code


def _moment(text: str) -> float | None:
    """Read a time of the engine, which has up to nine digits of a second; None for its zero."""
    if not text or text.startswith("0001-"):
        return None
    head, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{head}.{fraction[:6]:0<6}+00:00").timestamp()


def usage_of(stats: Mapping[str, Any]) -> Usage:
    """Read what the engine counted of a container; file cache that can be dropped is left out."""
    memory = stats.get("memory_stats", {})
    details = memory.get("stats", {})
    cache = details.get("inactive_file", details.get("total_inactive_file", 0))
    used = memory.get("usage")
    cpu_ns = stats.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage")
    return Usage(
        memory=None if used is None else max(0, used - cache),
        cpu_s=cpu_ns / 1e9 if cpu_ns else None,
    )


def sum_of(usages: tuple[Usage, ...]) -> Usage:
    """Add up what containers use; a value that one of them does not tell is left out."""
    memory = [each.memory for each in usages if each.memory is not None]
    cpu_s = [each.cpu_s for each in usages if each.cpu_s is not None]
    return Usage(memory=sum(memory) if memory else None, cpu_s=sum(cpu_s) if cpu_s else None)


def handed_files(directory: Path) -> tuple[Path, Path]:
    """Return the paths of an agent's configuration and token, below the mounted directory."""
    return directory / CONFIG_FILE, directory / TOKEN_CREDENTIAL
