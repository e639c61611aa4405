"""Removal of old runs' files: of ended runs alone, and only after their time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from recipe_engines import order
from recipe_history import configuration

from agency.clock import Clock
from agency.recipes.engine.serving import running
from agency.recipes.record import retention as module
from agency.recipes.record.retention import Retention
from agency.recipes.record.run import RunState
from agency.recipes.record.runs import open_runs

DAY_S = 86_400.0


@dataclass
class Hand:
    now: float = 1_700_000_000.0

    def clock(self) -> Clock:
        return Clock(wall=lambda: self.now)


def files(artifacts: Path, run: str) -> None:
    (artifacts / run / "logs").mkdir(parents=True)
    (artifacts / run / "result.json").write_text("{}")


def there(artifacts: Path) -> list[str]:
    return sorted(one.name for one in artifacts.iterdir())


async def test_only_what_ended_long_ago_is_removed(tmp_path: Path) -> None:
    hand, artifacts = Hand(), tmp_path / "artifacts"
    async with open_runs(tmp_path, hand.clock()) as runs:
        for number, run in enumerate(("r00000001", "r00000002", "r00000003", "r00000004"), 1):
            await runs.add(order(number, comment=number), run)
            files(artifacts, run)
        for _ in range(3):
            assert await runs.take(9) is not None
        await runs.end("r00000001", RunState.PASSED, result="{}")
        hand.now += 9 * DAY_S
        await runs.end("r00000002", RunState.FAILED, "why")
        files(artifacts, "r00000009")  # the record knows none of it
        files(artifacts, "of-a-person")
        outside = tmp_path / "outside"
        files(outside, "kept")
        (artifacts / "r00000001" / "logs" / "link").symlink_to(outside)
        hand.now += 1.5 * DAY_S
        kept = Retention(runs, artifacts, 10, hand.clock())
        assert await kept.remove_old() == ("r00000001",)
        assert there(artifacts) == [
            "of-a-person", "r00000002", "r00000003", "r00000004", "r00000009",
        ]  # fmt: skip
        assert (outside / "kept" / "result.json").exists(), "links are not followed"
        found = await runs.run("r00000001")
        assert found is not None
        assert found.result == "{}", "the record keeps the result"
        hand.now += 9 * DAY_S
        assert await kept.remove_old() == ("r00000002",)
        hand.now += 10_000 * DAY_S
        assert await kept.remove_old() == (), "one runs, one waits"
        assert {"r00000003", "r00000004"} <= set(there(artifacts))


async def test_what_cannot_be_removed_keeps_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hand, artifacts = Hand(), tmp_path / "artifacts"
    elsewhere = tmp_path / "elsewhere"
    files(elsewhere, "r00000001")
    artifacts.mkdir()
    (artifacts / "r00000001").symlink_to(elsewhere / "r00000001")
    files(artifacts, "r00000002")
    async with open_runs(tmp_path, hand.clock()) as runs:
        for number, run in enumerate(("r00000001", "r00000002"), 1):
            await runs.add(order(number, comment=number), run)
            assert await runs.take(9) is not None
            await runs.end(run, RunState.PASSED)
        hand.now += 11 * DAY_S
        assert await Retention(runs, artifacts, 10, hand.clock()).remove_old() == ("r00000002",)
    assert (elsewhere / "r00000001" / "result.json").exists()
    assert "the files of run r00000001 are not removed" in caplog.text


async def test_many_are_removed_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    hand, artifacts = Hand(), tmp_path / "artifacts"
    async with open_runs(tmp_path, hand.clock()) as runs:
        for number in range(1, 6):
            await runs.add(order(number, comment=number), f"r0000000{number}")
            files(artifacts, f"r0000000{number}")
            assert await runs.take(9) is not None
            await runs.end(f"r0000000{number}", RunState.PASSED)
        hand.now += 11 * DAY_S
        kept = Retention(runs, artifacts, 10, hand.clock())
        assert [len(await kept.remove_old()) for _ in range(4)] == [2, 2, 1, 0]


async def test_a_place_that_cannot_be_read_is_told_and_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.01)
    hand, artifacts = Hand(), tmp_path / "artifacts"
    async with open_runs(tmp_path, hand.clock()) as runs:
        await runs.add(order(1, comment=1), "r00000001")
        assert await runs.take(9) is not None
        await runs.end("r00000001", RunState.PASSED)
        hand.now += 11 * DAY_S
        keeping = asyncio.create_task(Retention(runs, artifacts, 10, hand.clock()).keep())
        async with asyncio.timeout(10):
            while "old results are not removed" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            files(artifacts, "r00000001")
            while (artifacts / "r00000001").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        keeping.cancel()
        await asyncio.wait([keeping])


@pytest.mark.parametrize("days", [10, None])
async def test_the_runner_does_it_where_it_is_configured(tmp_path: Path, days: int | None) -> None:
    hand, artifacts = Hand(), tmp_path / "artifacts"
    async with open_runs(tmp_path, hand.clock()) as runs:
        for number, run in enumerate(("r00000001", "r00000002"), 1):
            await runs.add(order(number, comment=number), run)
            files(artifacts, run)
            assert await runs.take(9) is not None
            hand.now += number * 20 * DAY_S
            await runs.end(run, RunState.PASSED)
    config = configuration(tmp_path, 8101, retentionDays=days)
    async with running(config, lambda _: (), "unix:///none", hand.clock()):
        for _ in range(200):
            await asyncio.sleep(0.01)
            if days and there(artifacts) == ["r00000002"]:
                break
    assert there(artifacts) == (["r00000002"] if days else ["r00000001", "r00000002"])
