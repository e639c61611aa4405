"""Settings of gitlab-bootstrap: GitLab's declared state, and the names of issued secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from agency.reconcile.engine.contract import Settings
from agency.secrets import FORGE_BOT_TOKEN

_SLUG = r"^[a-z0-9][a-z0-9._-]{0,62}$"


class OauthApplication(Settings):
    """OAuth client of GitLab; its id and secret are issued as `<issued>-id`, `<issued>-secret`."""

    name: str = Field(min_length=1, max_length=255)
    redirect_uri: str = Field(pattern=r"^https?://[!-~]+$")
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    issued: str = Field(pattern=_SLUG)


class InstanceRunner(Settings):
    """Runner of the instance; its authentication token is issued under the name `issued`."""

    description: str = Field(min_length=1, max_length=255)
    tags: tuple[str, ...] = ()
    run_untagged: bool = False
    access_level: Literal["not_protected", "ref_protected"] = "ref_protected"
    issued: str = Field(pattern=_SLUG)


class ForgeBot(Settings):
    """Bot account, its place in the group, and its token; the days are those of the token."""

    username: str = Field(pattern=_SLUG)
    name: str = Field(min_length=1, max_length=255)
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    access_level: Literal["reporter", "developer", "maintainer"] = "developer"
    scopes: tuple[str, ...] = ("api",)
    issued: str = Field(default=FORGE_BOT_TOKEN, pattern=_SLUG)
    valid_days: int = Field(default=180, ge=2, le=365)
    renew_days: int = Field(default=30, ge=1)


class ForgePerson(Settings):
    """Account of an operator: other services know the operator by its name."""

    username: str = Field(pattern=_SLUG)
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")


class ForgeGroup(Settings):
    """Group that owns the instance's projects."""

    path: str = Field(pattern=_SLUG)
    name: str = Field(min_length=1, max_length=255)
    visibility: Literal["private", "internal", "public"] = "private"


class GitlabBootstrapSettings(Settings):
    """Declared state of GitLab."""

    url: str = Field(pattern=r"^https?://[!-~]+[^/]$")
    group: ForgeGroup
    bot: ForgeBot
    people: tuple[ForgePerson, ...] = ()
    applications: tuple[OauthApplication, ...] = ()
    runners: tuple[InstanceRunner, ...] = ()
    issued_dir: Path = Path("/var/lib/agency/issued")
    ready_timeout_s: float = Field(default=300, ge=0)
