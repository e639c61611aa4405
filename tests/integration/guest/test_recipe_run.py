"""Runs of a recipe by the exported units, under a real systemd: bridge, runner and dashboard.

    comment at Gitea ─▶ bridge ─▶ record ─▶ runner ─▶ run ─▶ abra, git, pytest, Chromium
                          └── outcome ◀── dashboard's page ◀──┘

Real: the units with their confinement, a forge of the guest's own by HTTPS, the guest's swarm with
Traefik, the app, the backup by restic, the browser with its sandbox. abra is the stand-in, and each
run's page says so. The one change to what is exported is `runner.ca`, as `agency.ci.authority`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Any

import pytest
import pytest_asyncio
from recipe_guest import BRIDGE, RUNNER, STATE, RecipeHost, recipe_host

from agency.guests.images.layout import PREFIX
from agency.guests.images.prepare import Materials
from agency.guests.machines.machine import Guest, GuestFile
from agency.recipes.outcome import STAGES

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.thorough]

AGENCY = str(PREFIX / "bin" / "agency")
# As docs/recipes-server.md has it.
AS_UNIT = (
    *("systemd-run", "--quiet", "--pipe", "--wait", "--collect"),
    *("-p", "DynamicUser=yes", "-p", "User=agency-recipes", "-p", "StateDirectory=agency-recipes"),
)
CREDENTIAL = ("-p", "LoadCredential=forge-bot-token:/run/secrets/forge-bot-token")
VERDICT_S = 600.0
# The runner's filter, but for `chroot`, in which Chromium shuts its pages.
NARROW = PurePosixPath(f"/run/systemd/system/{RUNNER}.d/narrow.conf")
FILTER = b"""[Service]
SystemCallFilter=
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=capset seccomp
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(
    guest: Guest, materials: Materials, place: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RecipeHost]:
    own = tmp_path_factory.mktemp("recipes")
    async with recipe_host(guest, materials, place.materials, own) as made:
        yield made


async def asked(host: RecipeHost, branch: str, text: str) -> tuple[int, str, str]:
    """Open a pull request of what the bench has, and comment; its number, run and commit."""
    repository = host.repository
    number = await asyncio.to_thread(repository.open_request, branch)
    commit = repository.bench.git("rev-parse", "HEAD")
    await asyncio.to_thread(repository.say, number, text)
    return number, await host.run_of(number), commit


async def ended(host: RecipeHost, commit: str) -> str:
    return await asyncio.to_thread(host.repository.ended, commit, VERDICT_S)


# The host is made in the time of the first.
@pytest.mark.timeout(2400)
async def test_a_comment_is_answered_by_a_run_with_every_stage(host: RecipeHost) -> None:
    host.repository.bench.git("commit", "-q", "--allow-empty", "-m", "better")
    number, run, commit = await asked(host, "better", "!testme")
    state = await ended(host, commit)
    page = (await host.get(f"/runs/{run}")).decode()
    assert state == "success", page
    shown = await host.json(f"/runs/{run}.json")
    stages = {one["name"]: one for one in shown["result"]["stages"]}
    assert {name: one["outcome"] for name, one in stages.items()} == dict.fromkeys(STAGES, "pass")
    assert shown["result"]["teardown"]["clean"]
    assert "abra STAND-IN of the tests" in page
    assert any("passed" in one for one in await asyncio.to_thread(host.repository.told, number))

    tests = {one["name"]: one for one in stages["install"]["tests"]}
    in_browser = tests["test_install.py::test_the_front_page_in_a_browser"]
    picture = f"/runs/{run}/files/{in_browser['screenshot']}"
    assert picture in page
    assert (await host.get(picture)).startswith(b"\x89PNG")
    assert shown["result"].get("usage") is None, "a guest's Docker has no numbers, so none is told"
    assert await host.left() == []


async def test_a_broken_recipe_is_red_with_the_line_that_says_why(host: RecipeHost) -> None:
    bench = host.repository.bench
    good = bench.git("rev-parse", "HEAD")
    bench.edit("nginx.conf", "listen", "lissen")
    bench.edit("abra.sh", "NGINX_CONF_VERSION=v2", "NGINX_CONF_VERSION=v3")
    bench.commit("a slip of the pen")
    number, run, commit = await asked(host, "broken", "!testme install")
    assert await ended(host, commit) == "failure"
    assert (await host.json(f"/runs/{run}.json"))["state"] == "failed"
    page = (await host.get(f"/runs/{run}")).decode()
    assert 'unknown directive "lissen"' in page.replace("&#34;", '"'), page
    assert any("failed" in one for one in await asyncio.to_thread(host.repository.told, number))
    assert await host.left() == []
    bench.git("reset", "-q", "--hard", good)


async def test_a_runner_that_is_stopped_or_killed_leaves_nothing_and_goes_on(
    host: RecipeHost,
) -> None:
    host.repository.bench.git("commit", "-q", "--allow-empty", "-m", "interrupted")
    _, run, commit = await asked(host, "interrupted", "!testme install,upgrade")
    await host.until(run, "upgrade: begins")
    assert await host.left() != [], "the control: there is an app"
    await host.guest.run("systemctl", "stop", RUNNER, timeout_s=400)
    shown = ("systemctl", "show", "--property=Result", "--value", RUNNER)
    assert await host.guest.run(*shown) == b"success\n"
    assert await host.left() == []
    await host.guest.run("rm", "-r", str(STATE / "artifacts" / run))

    await host.guest.run("systemctl", "start", RUNNER)
    await host.until(run, "upgrade: begins")
    await host.guest.run("systemctl", "kill", "--signal=KILL", RUNNER)
    assert await ended(host, commit) == "success"
    told = await host.journal(RUNNER)
    assert f"run {run} was left running" in told
    assert f"run {run}: queued" in told
    assert await host.left() == []


async def test_the_queue_is_seen_and_changed_by_hand(host: RecipeHost) -> None:
    """As the user of the units, and as root; the units go on with the record afterwards."""
    host.repository.bench.git("commit", "-q", "--allow-empty", "-m", "by hand")
    number = await asyncio.to_thread(host.repository.open_request, "by-hand")
    words = ("static-site", str(number), "--stage", "install", "--json")
    add = (AGENCY, "recipes", "queue", "add", *words)
    refused = await host.guest.look(*AS_UNIT, *add, timeout_s=60)
    assert refused.exit_status == 3
    assert b"forge-bot-token" in refused.stdout + refused.stderr
    await host.guest.run("systemctl", "stop", RUNNER)
    added = json.loads(await host.guest.run(*AS_UNIT, *CREDENTIAL, *add, timeout_s=60))
    assert added["state"] == "queued"
    listing = (AGENCY, "recipes", "queue", "list", "--json")
    listed = json.loads(await host.guest.run(*AS_UNIT, *listing, timeout_s=60))
    assert [one["run"] for one in listed["runs"]] == [added["run"]]
    await host.guest.run(AGENCY, "recipes", "queue", "cancel", added["run"], timeout_s=60)
    token = ("--token", "/run/secrets/forge-bot-token")
    second = json.loads(await host.guest.run(*add, *token, timeout_s=60))
    await host.guest.run("systemctl", "start", RUNNER)
    await host.until(second["run"], "pass: static-site")
    assert await host.left() == []


async def test_the_units_were_refused_nothing(host: RecipeHost) -> None:
    """What a filter of system calls refuses is EPERM: programs tell it, if they tell anything."""
    for unit in (BRIDGE, RUNNER):
        told = await host.journal(unit)
        assert "Operation not permitted" not in told
        assert "Traceback" not in told
    found = await host.guest.look(
        *("grep", "--recursive", "--files-with-matches", "-E"),
        *("Operation not permitted|EPERM|no limit holds", str(STATE / "artifacts")),
    )
    assert (found.exit_status, found.stdout) == (1, b""), found.stdout


async def test_a_filter_without_a_call_of_the_browser_is_an_error_of_the_place(
    host: RecipeHost,
) -> None:
    """The control of the others: the unit's filter holds in a guest, also for the browser."""
    await host.guest.write({NARROW: GuestFile(FILTER)})
    await host.guest.run("systemctl", "daemon-reload")
    await host.guest.run("systemctl", "restart", RUNNER, timeout_s=60)
    host.repository.bench.git("commit", "-q", "--allow-empty", "-m", "narrow")
    _, run, commit = await asked(host, "narrow", "!testme install")
    assert await ended(host, commit) == "failure", "a forge's status tells no faults apart"
    shown = await host.json(f"/runs/{run}.json")
    assert shown["state"] == "error"
    (install,) = shown["result"]["stages"]
    assert "Chromium does not start" in install["reason"]
    assert "chroot" in install["reason"]
    assert await host.left() == []
