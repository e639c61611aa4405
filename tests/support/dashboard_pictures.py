"""Pictures of the dashboard for the docs: `python tests/support/dashboard_pictures.py docs`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from page_browser import browsing_loopback
from recipe_history import History, configuration, free_port, history, png

from agency.recipes.dashboard.server import serving

RECIPES = ("blog", "chat", "forum", "mail", "search", "shop", "wiki")
LOG = """\
deploying static-site 1.1.0+1.27.2 over 1.0.0+1.26.0
\x1b[32mapp: 1 of 1 tasks run\x1b[0m
waiting for https://wiki-pr-7-r00000f0k.ci.example.org/health
\x1b[33m502 Bad Gateway, trying again\x1b[0m
test_front_page \x1b[1;31mFAILED\x1b[0m
"""


async def _live(past: History) -> str:
    """Make a history, and a run that goes on; return its id."""
    for number, name in enumerate(RECIPES[:-1]):
        for again in range(4 + number):
            commit = f"{number}{again // 2}".ljust(40, "3")
            bad = (number * again) % 5 == 3
            await (past.failed if bad else past.passed)(name, commit=commit, pull_request=again + 1)
    for again in range(6):
        await (past.failed if again in (2, 5) else past.passed)("wiki")
    run = await past.start("chat", requester="grace", pull_request=12)
    past.log(run.id, "install", LOG)
    await past.add("forum", requester="alan", pull_request=4)
    past.time.now += 130
    return (await past.runs.of_recipe("wiki"))[0].id


async def main(place: Path) -> None:
    """Write both pictures."""
    with tempfile.TemporaryDirectory() as directory, free_port() as port:
        state, home = Path(directory) / "state", Path(directory) / "home"
        await asyncio.to_thread(state.mkdir)
        config = configuration(state, port, *RECIPES)
        async with (
            history(state) as past,
            serving(config, past.time.clock(), 180),
            browsing_loopback(f"http://127.0.0.1:{port}", home) as page,
        ):
            run = await _live(past)
            past.log(run, "upgrade", LOG)
            past.file(run, "screenshots/front.png", png())
            await page.open("/")
            await page.picture(place / "dashboard.png", 760)
            await page.set("dark")
            await page.open(f"/runs/{run}")
            await page.picture(place / "dashboard-run.png", 1180)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
