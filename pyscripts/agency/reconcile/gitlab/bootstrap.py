"""gitlab-bootstrap: GitLab's OAuth applications, runners, group, bot with its token, operators.

Matrix and Grafana take an account's name for the person. The names of operators are accounts from
the start, so that nobody else gets one; an administrator gives each its password.

GitLab shows the secrets that it issues (client ids and secrets, tokens of runners and bot) only
once, so the reconciler writes them at once to the directory of issued secrets. It checks each
against GitLab, and has lost, refused or expiring ones issued again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from agency.clock import Clock
from agency.forge import GitlabApi, administered
from agency.reconcile.gitlab.changes import LEVELS, GitlabChange, Seen, Step, runner_facts
from agency.reconcile.gitlab.planning import plan
from agency.reconcile.gitlab.settings import (
    ForgePerson,
    GitlabBootstrapSettings,
    InstanceRunner,
    OauthApplication,
)
from agency.reconcile.issued import Issued
from agency.secrets import SecretValue, read_credential

SETTINGS = GitlabBootstrapSettings
ADMIN_CREDENTIAL = "gitlab-admin-token"


@dataclass(frozen=True, slots=True)
class GitlabBootstrap:
    """Reconciler of GitLab."""

    api: GitlabApi
    settings: GitlabBootstrapSettings
    issued: Issued
    token: SecretValue
    clock: Clock

    def secrets(self) -> tuple[SecretValue, ...]:
        """Return the administrator's token and every issued secret."""
        names = [f"{one.issued}-secret" for one in self.settings.applications]
        names.append(self.settings.bot.issued)
        names += [one.issued for one in self.settings.runners]
        found = (self.issued.read(name) for name in names)
        return (self.token, *(SecretValue(value) for value in found if value is not None))

    async def observe(self) -> Seen:
        """Read the state of GitLab and the issued secrets."""
        return await asyncio.to_thread(self._observe)

    def _observe(self) -> Seen:
        api, wanted = self.api, self.settings
        users = api.list("/users", {"username": wanted.bot.username})
        bot = api.get(f"/users/{users[0]['id']}") if users else None
        group = api.get(f"/groups/{wanted.group.path}")
        member = None
        if bot is not None and group is not None:
            member = api.get(f"/groups/{group['id']}/members/{bot['id']}")
        token = self._token_facts()
        working = {one.issued for one in wanted.runners if self._runner_token_works(one)}
        names = [one.issued for one in wanted.applications]
        return Seen(
            applications=tuple(api.list("/applications")),
            issued_ids={name: self.issued.read(f"{name}-id") for name in names},
            issued_secrets=frozenset(n for n in names if self.issued.read(f"{n}-secret")),
            runners=self._runners(),
            runner_tokens=frozenset(working),
            group=group,
            bot=bot,
            level=None if member is None else member["access_level"],
            token=token,
            old_tokens=self._old_tokens(bot, token),
            people=frozenset(
                one.username
                for one in wanted.people
                if api.list("/users", {"username": one.username})
            ),
        )

    def _token_facts(self) -> Mapping[str, Any] | None:
        value = self.issued.read(self.settings.bot.issued)
        return None if value is None else self.api.token_facts(value)

    def _runners(self) -> dict[str, Mapping[str, Any] | None]:
        if not self.settings.runners:
            return {}
        listed = self.api.list("/runners/all", {"type": "instance_type"})
        identities = {one["description"]: one["id"] for one in reversed(listed)}
        return {
            one.issued: self.api.get(f"/runners/{identities[one.description]}")
            if one.description in identities
            else None
            for one in self.settings.runners
        }

    def _runner_token_works(self, wanted: InstanceRunner) -> bool:
        value = self.issued.read(wanted.issued)
        return value is not None and self.api.runner_token_works(value)

    def _old_tokens(
        self, bot: Mapping[str, Any] | None, token: Mapping[str, Any] | None
    ) -> tuple[int, ...]:
        if bot is None or token is None:
            return ()
        query = {"user_id": bot["id"], "state": "active"}
        listed = self.api.list("/personal_access_tokens", query)
        ours = [one["id"] for one in listed if one["name"] == self.settings.bot.issued]
        return tuple(identity for identity in ours if identity != token["id"])

    def plan(self, observed: Seen) -> tuple[GitlabChange, ...]:
        """List the differences."""
        return plan(self.settings, observed, self._today())

    def _today(self) -> date:
        return self.clock.utc().date()

    async def apply(self, change: GitlabChange) -> None:
        """Make one change."""
        await asyncio.to_thread(self._apply, change)

    def _apply(self, change: GitlabChange) -> None:
        step, identity = change.step, change.identity
        if change.application is not None:
            self._issue_application(change.application, identity)
        elif step is Step.REMOVE_APPLICATION:
            self.api.delete(f"/applications/{identity}")
        elif change.person is not None:
            self._make_person(change.person)
        elif change.runner is not None:
            self._apply_runner(step, identity, change.runner)
        elif step in {Step.MAKE_GROUP, Step.SET_GROUP}:
            group = self.settings.group
            facts = {"name": group.name, "visibility": group.visibility}
            if step is Step.MAKE_GROUP:
                self.api.post("/groups", {"path": group.path, **facts})
            else:
                self.api.put(f"/groups/{identity}", facts)
        else:
            self._apply_bot(step, identity)

    def _make_person(self, wanted: ForgePerson) -> None:
        self.api.post(
            "/users",
            {
                "username": wanted.username,
                "name": wanted.username,
                "email": wanted.email,
                "force_random_password": True,
                "skip_confirmation": True,
            },
        )

    def _issue_application(self, wanted: OauthApplication, identity: int) -> None:
        if identity:
            made = self.api.post(f"/applications/{identity}/renew-secret")
        else:
            made = self.api.post(
                "/applications",
                {
                    "name": wanted.name,
                    "redirect_uri": wanted.redirect_uri,
                    "scopes": " ".join(wanted.scopes),
                    "confidential": True,
                },
            )
        # The id last: where it is that of the application, the secret is its secret.
        self.issued.write(f"{wanted.issued}-secret", made["secret"])
        self.issued.write(f"{wanted.issued}-id", made["application_id"])

    def _apply_runner(self, step: Step, identity: int, wanted: InstanceRunner) -> None:
        if step is Step.SET_RUNNER:
            self.api.put(f"/runners/{identity}", runner_facts(wanted))
            return
        if step is Step.MAKE_RUNNER:
            facts = {"description": wanted.description, **runner_facts(wanted)}
            made = self.api.post("/user/runners", {"runner_type": "instance_type", **facts})
        else:
            made = self.api.post(f"/runners/{identity}/reset_authentication_token")
        self.issued.write(wanted.issued, made["token"])

    def _apply_bot(self, step: Step, identity: int) -> None:
        wanted, api = self.settings.bot, self.api
        match step:
            case Step.MAKE_BOT:
                facts = {"username": wanted.username, "name": wanted.name, "email": wanted.email}
                random = {"force_random_password": True, "skip_confirmation": True}
                api.post("/users", {**facts, **random, "can_create_group": False})
            case Step.UNBLOCK_BOT:
                api.post(f"/users/{identity}/unblock")
            case Step.SET_BOT:
                api.put(f"/users/{identity}", {"name": wanted.name, "admin": False})
            case Step.ADD_MEMBER | Step.SET_MEMBER:
                self._set_member(step)
            case Step.MAKE_TOKEN:
                until = self._today() + timedelta(days=wanted.valid_days)
                path = f"/users/{identity}/personal_access_tokens"
                made = api.post(
                    path,
                    {
                        "name": wanted.issued,
                        "scopes": list(wanted.scopes),
                        "expires_at": until.isoformat(),
                    },
                )
                self.issued.write(wanted.issued, made["token"])
            case Step.REVOKE_TOKEN:
                api.delete(f"/personal_access_tokens/{identity}")
            case _:
                raise AssertionError(step)

    def _set_member(self, step: Step) -> None:
        wanted = self.settings.bot
        group = self.api.get(f"/groups/{self.settings.group.path}") or {}
        user = self.api.list("/users", {"username": wanted.username})[0]["id"]
        path, level = f"/groups/{group['id']}/members", LEVELS[wanted.access_level]
        if step is Step.ADD_MEMBER:
            self.api.post(path, {"user_id": user, "access_level": level})
        else:
            self.api.put(f"{path}/{user}", {"access_level": level})


@asynccontextmanager
async def opened(
    settings: GitlabBootstrapSettings, clock: Clock | None = None
) -> AsyncIterator[GitlabBootstrap]:
    """Open the reconciler, with the token that GitLab's own console made for root."""
    token = read_credential(ADMIN_CREDENTIAL)
    login = administered(settings.url, token.reveal(), ready_s=settings.ready_timeout_s)
    api = await asyncio.to_thread(login.__enter__)
    try:
        issued = Issued(settings.issued_dir)
        yield GitlabBootstrap(api, settings, issued, token, clock or Clock())
    finally:
        await asyncio.to_thread(login.__exit__, None, None, None)
