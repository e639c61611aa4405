"""The comment bridge at a SIMULATED GitLab: its words for what Gitea shows for real."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from agency.clock import Clock
from agency.forge import CommitState, NewMergeRequest, gitlab_forge
from agency.recipes.bridge.process import make_bridge
from agency.recipes.configuration import RecipesConfig
from agency.recipes.record.run import RunState
from agency.recipes.record.runs import open_runs

PROJECT = "team/app"


def config(state: Path, url: str) -> RecipesConfig:
    return RecipesConfig.model_validate(
        {
            "domain": "example.org",
            "engine": "builtin",
            "maxTests": 2,
            "buildTimeoutMinutes": 60,
            "recipes": {"app": {"repository": PROJECT}},
            "forge": {"kind": "gitlab", "url": url},
            "hosts": {"bridge": "hook.example.org", "dashboard": "ci.example.org"},
            "ports": {"bridge": 8100, "dashboard": 8101},
            "wildcard": "*.ci.example.org",
            "state": str(state),
        }
    )


async def test_from_a_note_to_the_outcome(gitlab_place: Any, tmp_path: Path) -> None:
    place = gitlab_place
    sha = place.commit("bridged", "bridged")
    async with (
        gitlab_forge(place.url, place.tokens["maintainer"]) as bot,
        gitlab_forge(place.url, place.tokens["developer"]) as developer,
        gitlab_forge(place.url, place.tokens["reader"]) as reader,
        open_runs(tmp_path, Clock()) as runs,
    ):
        bridge = make_bridge(config(tmp_path, place.url), bot, runs, 20.0, Clock())
        new = NewMergeRequest("Bridged", "", "bridged", "main")
        number = (await developer.open_merge_request(PROJECT, new)).number
        await developer.comment(PROJECT, number, "!testme")
        await asyncio.sleep(1.1)
        await bridge.looker.look(PROJECT)
        await reader.comment(PROJECT, number, "!testme")
        said = await developer.comment(PROJECT, number, "!testme upgrade,install")
        await bridge.looker.look(PROJECT)
        (run,) = await runs.in_state(RunState.QUEUED)
        order = run.order
        assert (order.commit, order.comment, order.requester) == (sha, said.id, "developer")
        assert order.head_ref == f"refs/merge-requests/{number}/head"
        assert order.stages == ("install", "upgrade")

        async def tell() -> list[str]:
            for settled in await bridge.looker.memory.unsent(()):
                await bridge.teller.reply(settled)
            for each in await runs.untold():
                await bridge.teller.tell(each)
            found = await bot.comments(PROJECT, number)
            return [each.text for each in found if each.author.name == "maintainer"]

        stranger, answer = await tell()
        assert "Only members of `team`" in stranger
        assert "is queued" in answer
        await runs.end(run.id, RunState.PASSED)
        assert "**passed**" in (await tell())[1]
        (status,) = await bot.statuses(PROJECT, sha)
        assert (status.name, status.state) == ("agency/recipes", CommitState.SUCCESS)
        place.commit("bridged", "bridged later")
        await developer.comment(PROJECT, number, "!testme")
        await bridge.looker.look(PROJECT)
        (newer,) = await runs.in_state(RunState.QUEUED)
        assert newer.order.commit != sha
