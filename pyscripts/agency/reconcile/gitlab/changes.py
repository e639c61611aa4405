"""Observed state of GitLab, and the changes that gitlab-bootstrap can make there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from agency.reconcile.engine.contract import Change
from agency.reconcile.gitlab.settings import ForgePerson, InstanceRunner, OauthApplication

LEVELS = {"reporter": 20, "developer": 30, "maintainer": 40}


@dataclass(frozen=True, slots=True)
class Seen:
    """Observed objects of GitLab and issued secrets; of secrets only facts, never values."""

    applications: tuple[Mapping[str, Any], ...]
    issued_ids: Mapping[str, str | None]
    issued_secrets: frozenset[str]
    runners: Mapping[str, Mapping[str, Any] | None]  # by the name of the token, as issued
    runner_tokens: frozenset[str]  # those that work
    group: Mapping[str, Any] | None
    bot: Mapping[str, Any] | None
    level: int | None
    token: Mapping[str, Any] | None
    old_tokens: tuple[int, ...]
    people: frozenset[str] = frozenset()  # names of operators that are accounts


class Step(Enum):
    """Kinds of changes."""

    MAKE_APPLICATION = auto()
    REMOVE_APPLICATION = auto()
    RENEW_APPLICATION = auto()
    MAKE_RUNNER = auto()
    SET_RUNNER = auto()
    RENEW_RUNNER = auto()
    MAKE_GROUP = auto()
    SET_GROUP = auto()
    MAKE_BOT = auto()
    UNBLOCK_BOT = auto()
    SET_BOT = auto()
    ADD_MEMBER = auto()
    SET_MEMBER = auto()
    MAKE_TOKEN = auto()
    REVOKE_TOKEN = auto()
    MAKE_PERSON = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class GitlabChange(Change):
    """One change; `identity` is GitLab's number of its object, the other fields are its subject."""

    step: Step
    identity: int = 0
    application: OauthApplication | None = None
    runner: InstanceRunner | None = None
    person: ForgePerson | None = None


def runner_facts(wanted: InstanceRunner) -> dict[str, Any]:
    """Describe a runner in the fields of GitLab's API, except description and type."""
    return {
        "tag_list": list(wanted.tags),
        "run_untagged": wanted.run_untagged,
        "access_level": wanted.access_level,
        "paused": False,
        "locked": False,
    }
