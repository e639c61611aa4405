"""Sections of instance.yaml about what a host gives an agent: limits, ways out, and features.

Their keys are the names of the options under `agency.agents.NAME`, whose values these are.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from agency.instance.fields.letters import holds_password, not_this
from agency.instance.fields.values import Repository
from agency.settings import Written

_ORIGIN = re.compile(r"https?://[A-Za-z0-9*][A-Za-z0-9.*-]*(:[0-9]{1,5})?")
# What git takes as a remote, without a password and without what a shell or an option would be.
_REMOTE = re.compile(
    r"(https://|ssh://)[A-Za-z0-9._~@:/+-]{1,400}|[a-z0-9._-]+@[A-Za-z0-9._:/~+-]+"
)
_CALENDAR = re.compile(r"[A-Za-z0-9*:.,/~ -]{1,100}")
# It goes into a commit as `NAME <EMAIL>`.
_FULL_NAME = re.compile(r"[^\s<>\x00-\x1f\x7f]([^<>\x00-\x1f\x7f]{0,98}[^\s<>\x00-\x1f\x7f])?")


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text)) if "/" in text else str(ipaddress.ip_address(text))
    except ValueError:
        wanted = (
            "must be an address or a network such as 192.0.2.0/24; a name is resolved only once"
        )
        raise ValueError(not_this(wanted, text)) from None


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError(not_this("must be an origin such as https://docs.example.org", text))
    return text


def _remote(text: str) -> str:
    if holds_password(text):  # never the text
        raise ValueError("holds a password; leave it out")
    if not _REMOTE.fullmatch(text):
        wanted = "must be a remote such as https://git.example.org/team/notes.git"
        raise ValueError(not_this(wanted, text))
    return text


def _calendar(text: str) -> str:
    if not _CALENDAR.fullmatch(text):
        wanted = "must be a calendar event of systemd such as *-*-* 05:00:00"
        raise ValueError(not_this(wanted, text))
    return text


def _full_name(text: str) -> str:
    if not _FULL_NAME.fullmatch(text):
        wanted = "must be a name of at most 100 characters without < and >"
        raise ValueError(not_this(wanted, text))
    return text


def _url(text: str) -> str:
    if not re.fullmatch(r"https://[a-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?", text):
        raise ValueError(not_this("must be an address such as https://git.example.org", text))
    return text.rstrip("/")


def _label(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9{}:._ -]{1,100}", text):
        raise ValueError(not_this("must be the name of a label such as agent:{agent}", text))
    return text


Network = Annotated[str, AfterValidator(_network)]
Origin = Annotated[str, AfterValidator(_origin)]
Remote = Annotated[str, AfterValidator(_remote)]
Calendar = Annotated[str, AfterValidator(_calendar)]
FullName = Annotated[str, AfterValidator(_full_name)]
ForgeUrl = Annotated[str, AfterValidator(_url)]
Label = Annotated[str, AfterValidator(_label)]
Argument = Annotated[str, Field(min_length=1, max_length=1000)]


class AgentLimits(Written):
    """Limits of everything that runs for an agent, together."""

    memory_mib: int | None = Field(
        default=None, ge=64, le=1024 * 1024, description="most memory; 1024 if it is not set"
    )
    cpus: float | None = Field(
        default=None, gt=0, le=1024, description="most processors; 1 if it is not set"
    )
    tasks: int | None = Field(
        default=None, ge=16, le=32768, description="most processes and threads; 256 if not set"
    )


class Egress(Written):
    """One way out of the machine."""

    to: Network = Field(description="an address, or a network such as 192.0.2.0/24")
    protocol: Literal["tcp", "udp"] = Field(default="tcp", description="transport protocol")
    port: int = Field(default=443, ge=1, le=65535, description="destination port")


class Workspace(Written):
    """The repository that an agent works in."""

    enable: bool = Field(default=False, description="give it one, at ~/agent-space")
    remote: Remote | None = Field(
        default=None, description="cloned from there; made from nothing if it is not set"
    )


class Browser(Written):
    """The browser of an agent."""

    enable: bool = Field(default=False, description="give it one, with a profile that lasts")
    origins: list[Origin] = Field(
        default_factory=list,
        max_length=100,
        description="the only origins that it asks; if none, all that egress lets out",
    )


class Issues(Written):
    """Issues of a forge that become tasks."""

    kind: Literal["gitea", "gitlab"] = Field(description="what the forge is")
    url: ForgeUrl = Field(description="where it is")
    projects: list[Repository] = Field(
        min_length=1, max_length=100, description="projects whose open issues are read"
    )
    label: Label = Field(
        default="agent:{agent}",
        description="label of those that are for it; who may set it may give it work",
    )


class TaskLoop(Written):
    """The loop that works through an agent's tasks on a timer."""

    enable: bool = Field(default=False, description="run it; it needs a workspace")
    schedule_at: Calendar | None = Field(
        default=None, description="when new work is collected; each day at five if it is not set"
    )
    run_at: Calendar | None = Field(
        default=None, description="when the queue is worked on; each quarter of an hour if not set"
    )
    max_tasks: int | None = Field(
        default=None, ge=1, le=100, description="most tasks in one run; 5 if it is not set"
    )
    max_wall_time: int | None = Field(
        default=None, ge=60, le=86400, description="longest run, in seconds; 3600 if not set"
    )
    max_errors: int | None = Field(
        default=None, ge=1, le=100, description="failed tasks in a row that end a run; 3 if not set"
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="most tokens of one run; no limit if it is not set"
    )
    issues: Issues | None = Field(
        default=None,
        description="issues of a forge that become tasks, read with the secret "
        "agent-NAME-issues-token",
    )


class CodingAgent(Written):
    """The contract by which an agent contributes code."""

    enable: bool = Field(default=False, description="let it; it needs a workspace")
    max_reviews: int | None = Field(
        default=None,
        ge=0,
        le=10,
        description="failed reviews after which a person is asked; 2 if it is not set",
    )
    max_wall_time: int | None = Field(
        default=None,
        ge=60,
        le=86400,
        description="longest piece of work, in seconds; 3600 if not set",
    )
    reviews: list[Annotated[list[Argument], Field(min_length=1, max_length=50)]] = Field(
        default_factory=list,
        max_length=20,
        description="checks of what was committed, each a program with its arguments",
    )
