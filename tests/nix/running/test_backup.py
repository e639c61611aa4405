"""Backups of the full machine: their place, GitLab's own within them, and its restore."""

from __future__ import annotations

import re
from typing import Any

import pytest
from unitwalk.units import Machine, machine

from agency.backup.settings import BackupSettings

Facts = dict[str, Any]


@pytest.fixture(scope="module")
def full(hosts: dict[str, Facts]) -> Machine:
    return machine(hosts["builtin"])


def test_gitlab_s_backup_is_whole_when_ours_begins(full: Machine, said: Facts) -> None:
    """Ordered, and done only at its end; upstream's counts as started when it begins."""
    ours, theirs = full.units["agency-backup.service"], full.units["gitlab-backup.service"]
    assert "gitlab-backup.service" in ours.words("Wants")
    assert "gitlab-backup.service" in ours.words("After")
    assert theirs.last("Type") == "oneshot"
    assert re.fullmatch(
        r"/nix/store/\S+-gitlab-rake/bin/gitlab-rake gitlab:backup:create", theirs.last("ExecStart")
    )
    assert "gitlab-backup.timer" not in full.units, "ours starts it"
    assert said["backup"]["tree"] == said["backup"]["gitlab"]


def test_what_ours_wait_for_has_an_end_or_stays_up(full: Machine) -> None:
    """A simple service without Restart= is a job: whoever waits for it goes on at its begin."""
    found = {
        f"{unit.name} waits for {name}"
        for unit in full.units.values()
        if unit.name.startswith("agency-")
        for name in {*unit.words("Wants"), *unit.words("Requires")} & set(unit.words("After"))
        if name.endswith(".service") and name in full.units
        if is_job(full.units[name])
    }
    assert found == set()


def is_job(unit: Any) -> bool:
    kind = unit.last("Type") or "simple"
    return kind in ("simple", "exec") and unit.last("Restart", "no") == "no"


def test_gitlab_s_restore_is_a_unit_that_asks_nothing(full: Machine) -> None:
    """By the task and the variables of GitLab's documentation; no GitLab has run it."""
    unit = full.units["gitlab-restore@.service"]
    assert unit.last("Type") == "oneshot"
    assert unit.last("User") == full.units["gitlab-backup.service"].last("User")
    assert re.fullmatch(
        r"/nix/store/\S+-gitlab-rake/bin/gitlab-rake gitlab:backup:restore", unit.last("ExecStart")
    )
    assert {"RAILS_ENV=production", "GITLAB_ASSUME_YES=1"} <= set(unit.words("Environment"))
    assert 'Environment="BACKUP=%i"' in full.facts["units"][unit.name]["text"]
    assert "gitaly.service" in unit.words("Requires")
    assert unit not in full.reached(), "by hand alone"


def test_another_place_brings_its_credentials(said: Facts) -> None:
    own, away = (BackupSettings.model_validate(said["backup"][one]) for one in ("own", "away"))
    assert (own.append_only, away.append_only) == (False, True)
    assert away.repository == "rest:https://backup.example.org/agency/"
    wanted = ["backup-password", "backup-repository-credentials"]
    assert said["backup"]["awayCredentials"] == wanted
    unit = said["backup"]["awayUnit"]
    assert re.findall(r"^LoadCredential=(\S+?):", unit, re.M) == wanted
    assert "PrivateNetwork=true" not in unit
