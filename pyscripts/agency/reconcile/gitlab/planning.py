"""Changes needed in GitLab, from its declared and its observed state. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from agency.reconcile.engine.contract import ABSENT
from agency.reconcile.gitlab.changes import LEVELS, GitlabChange, Seen, Step, runner_facts
from agency.reconcile.gitlab.settings import (
    ForgeBot,
    ForgeGroup,
    ForgePerson,
    GitlabBootstrapSettings,
    InstanceRunner,
    OauthApplication,
)


def plan(
    settings: GitlabBootstrapSettings, observed: Seen, today: date
) -> tuple[GitlabChange, ...]:
    """List the differences; `today` (UTC) decides which tokens are about to expire."""
    changes = [_plan_person(one) for one in settings.people if one.username not in observed.people]
    for application in settings.applications:
        changes += _plan_application(application, observed)
    for runner in settings.runners:
        changes += _plan_runner(runner, observed)
    changes += _plan_group(settings.group, observed)
    changes += _plan_bot(settings.bot, observed, today)
    return tuple(changes)


def _plan_person(wanted: ForgePerson) -> GitlabChange:
    change = _change(f"operator {wanted.username}", "user", ABSENT, "made", Step.MAKE_PERSON)
    return replace(change, person=wanted)


def _plan_application(wanted: OauthApplication, seen: Seen) -> list[GitlabChange]:
    part = f"application {wanted.name}"
    ours = [one for one in seen.applications if one["application_name"] == wanted.name]
    right = [one for one in ours if _application_differs(one, wanted) is None]
    issued = seen.issued_ids[wanted.issued]
    keep = next((one for one in right if one["application_id"] == issued), None)
    keep = keep or next(iter(right), None)
    changes = []
    for one in ours:
        if one is keep:
            continue
        what, before, after = _application_differs(one, wanted) or ("double", "2", "1")
        changes.append(
            GitlabChange(part=part, what=what, before=before, after=after,
                         step=Step.REMOVE_APPLICATION, identity=one["id"])
        )  # fmt: skip
    if keep is None:
        changes.append(
            GitlabChange(part=part, what="application", before=ABSENT, after="made",
                         step=Step.MAKE_APPLICATION, application=wanted)
        )  # fmt: skip
    elif keep["application_id"] != issued or wanted.issued not in seen.issued_secrets:
        before = "lost" if issued is None else "of another application"
        changes.append(
            GitlabChange(part=part, what="client secret", before=before, after="issued",
                         step=Step.RENEW_APPLICATION, identity=keep["id"], application=wanted)
        )  # fmt: skip
    return changes


def _plan_group(wanted: ForgeGroup, seen: Seen) -> list[GitlabChange]:
    part = f"group {wanted.path}"
    if seen.group is None:
        return [_change(part, "group", ABSENT, "made", Step.MAKE_GROUP)]
    facts = {"name": wanted.name, "visibility": wanted.visibility}
    return [
        _change(part, key, str(seen.group[key]), value, Step.SET_GROUP, seen.group["id"])
        for key, value in facts.items()
        if seen.group[key] != value
    ]


def _plan_bot(wanted: ForgeBot, seen: Seen, today: date) -> list[GitlabChange]:
    bot = seen.bot
    part = f"bot {wanted.username}"
    if bot is None:
        return [_change(part, "user", ABSENT, "made", Step.MAKE_BOT)]
    identity = bot["id"]
    changes = []
    if bot["state"] != "active":
        changes.append(_change(part, "state", bot["state"], "active", Step.UNBLOCK_BOT, identity))
    if bot.get("is_admin"):
        changes.append(_change(part, "administrator", "yes", "no", Step.SET_BOT, identity))
    if bot["name"] != wanted.name:
        changes.append(_change(part, "name", bot["name"], wanted.name, Step.SET_BOT, identity))
    if seen.group is not None:
        level = LEVELS[wanted.access_level]
        if seen.level is None:
            changes.append(_change(part, "member", "no", wanted.access_level, Step.ADD_MEMBER))
        elif seen.level != level:
            before = str(seen.level)
            changes.append(_change(part, "level", before, str(level), Step.SET_MEMBER))
    trouble = _token_trouble(wanted, seen, today)
    if trouble is not None:
        changes.append(_change(part, "token", trouble, "issued", Step.MAKE_TOKEN, identity))
    changes += [
        _change(part, f"old token {old}", "active", "revoked", Step.REVOKE_TOKEN, old)
        for old in seen.old_tokens
    ]
    return changes


def _token_trouble(wanted: ForgeBot, seen: Seen, today: date) -> str | None:
    token = seen.token
    if token is None or seen.bot is None or token["user_id"] != seen.bot["id"]:
        return "lost or refused"
    if set(token["scopes"]) != set(wanted.scopes):
        return f"scopes {', '.join(sorted(token['scopes']))}"
    expires = token.get("expires_at")
    latest = today + timedelta(days=wanted.renew_days)
    if expires is not None and date.fromisoformat(expires[:10]) <= latest:
        return f"expires on {expires[:10]}"
    return None


def _application_differs(
    seen: Mapping[str, Any], wanted: OauthApplication
) -> tuple[str, str, str] | None:
    """Return the differing field, from and to; older versions of GitLab report no scopes."""
    if seen["callback_url"] != wanted.redirect_uri:
        return "redirect URI", seen["callback_url"], wanted.redirect_uri
    if not seen["confidential"]:
        return "confidential", "no", "yes"
    scopes = seen.get("scopes")
    if scopes is not None and set(scopes) != set(wanted.scopes):
        return "scopes", " ".join(scopes), " ".join(wanted.scopes)
    return None


def _plan_runner(wanted: InstanceRunner, seen: Seen) -> list[GitlabChange]:
    part = f"runner {wanted.description}"
    runner = seen.runners[wanted.issued]
    if runner is None:
        return [_runner_change(wanted, part, "runner", ABSENT, "made", Step.MAKE_RUNNER)]
    changes = [
        _runner_change(
            wanted, part, key, str(runner.get(key)), str(value), Step.SET_RUNNER, runner["id"]
        )
        for key, value in runner_facts(wanted).items()
        if _comparable(runner.get(key)) != _comparable(value)
    ]
    if wanted.issued not in seen.runner_tokens:
        lost = "lost or refused"
        changes.append(
            _runner_change(wanted, part, "token", lost, "issued", Step.RENEW_RUNNER, runner["id"])
        )
    return changes


def _comparable(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def _change(
    part: str, what: str, before: str, after: str, step: Step, identity: int = 0
) -> GitlabChange:
    return GitlabChange(
        part=part, what=what, before=before, after=after, step=step, identity=identity
    )


def _runner_change(wanted: InstanceRunner, *facts: Any) -> GitlabChange:
    return replace(_change(*facts), runner=wanted)
