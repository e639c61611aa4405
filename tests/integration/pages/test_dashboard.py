"""The dashboard as a person has it: readable for all, live, and safe from what it shows."""

from __future__ import annotations

from typing import Any

import pytest
from recipe_history import png, result

from agency.recipes.record.run import RunState

pytestmark = pytest.mark.asyncio(loop_scope="module")
EVIL = "<script>document.title='taken over'</script><img src=x onerror=\"document.title='taken'\">"


@pytest.fixture
async def pages(seen: Any) -> dict[str, str]:
    """One page of each kind, of a history with every state."""
    past = seen.past
    if not (runs := await past.runs.of_recipe("chat")):
        for _ in range(3):
            await past.passed("wiki")
        await past.failed("wiki")
        await past.passed("blog")
        run = await past.start("shop", requester=EVIL)
        document = result(run.id, "shop", abra=EVIL, overlay={"compose.ccci.yml": EVIL})
        document["stages"][0] |= {"outcome": "error", "reason": EVIL, "notes": [EVIL]}
        colours = "".join(f"\x1b[{code}m{code} {EVIL}\x1b[0m\n" for code in range(30, 50))
        past.log(run.id, "install", colours)
        past.file(run.id, "screenshots/front.png", png())
        past.file(run.id, "trace.zip", b"zip")
        await past.end(run.id, RunState.ERROR, EVIL, document)
        await past.failed("chat")
        await past.start("chat")
        await past.add("blog", pull_request=9)
        runs = await past.runs.of_recipe("chat")
        past.log(runs[0].id, "install", "deploying\n\x1b[33mwaiting\x1b[0m\n")
    (shop,) = await past.runs.of_recipe("shop")
    return {
        "overview": "/",
        "nothing": "/?q=teapot",
        "recipe": "/recipes/wiki",
        "empty": "/recipes/new",
        "running": f"/runs/{runs[0].id}",
        "failed": f"/runs/{runs[1].id}",
        "hostile": f"/runs/{shop.id}",
        "log": f"/runs/{shop.id}/logs/install",
        "refusal": "/runs/r99999999",
    }


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("dark", 360)])
async def test_axe_finds_no_fault_and_the_policy_refuses_nothing(
    seen: Any, pages: dict[str, str], scheme: str, width: int
) -> None:
    await seen.page.set(scheme, width)
    for name, path in pages.items():
        await seen.page.open(path)
        assert await seen.page.faults() == [], name
        assert await seen.page.refused() == [], name
        wide = await seen.page.browser.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{name} is wider than the screen"


async def test_axe_would_find_a_fault(seen: Any, pages: dict[str, str]) -> None:
    await seen.page.set()
    await seen.page.open(pages["overview"])
    await seen.page.browser.evaluate(
        "document.querySelector('h1').style.color = '#eee'; document.documentElement.lang = '';"
        "document.querySelector('main').insertAdjacentHTML('beforeend', '<img src=/none.png>')"
    )
    found = " ".join(await seen.page.faults())
    for rule in ("color-contrast", "html-has-lang", "image-alt"):
        assert rule in found
    await seen.page.browser.evaluate("document.querySelector('h1').setAttribute('style', 'top:0')")
    assert "style-src-attr" in str(await seen.page.refused()), "the policy is there"


async def test_nothing_that_others_wrote_runs(seen: Any, pages: dict[str, str]) -> None:
    await seen.page.set()
    for name in ("hostile", "log", "overview"):
        await seen.page.open(pages[name])
        assert "taken" not in await seen.page.browser.evaluate("document.title")
    await seen.page.open(pages["hostile"])
    assert EVIL in await seen.page.text()
    assert await seen.page.browser.evaluate("document.querySelectorAll('img[src=x]').length") == 0
    # It is loaded when it is near what is seen, and a moment later.
    await seen.page.browser.evaluate("document.querySelector('.shots img').scrollIntoView()")
    await seen.page.until(
        "document.querySelector('.shots img').naturalWidth", lambda width: width == 320
    )


async def test_a_log_is_live_and_the_page_renews_itself(seen: Any, pages: dict[str, str]) -> None:
    past = seen.past
    await seen.page.set()
    await seen.page.open(pages["running"])
    run = pages["running"].rpartition("/")[2]
    log = "document.querySelector('#log-install pre').textContent"
    assert await seen.page.until(log) == "deploying\nwaiting\n"
    await seen.page.until("1", lambda _: seen.served.streams.open == 1)
    past.log(run, "install", f"\x1b[31m{EVIL}\x1b[0m\n")
    assert EVIL in await seen.page.until(log, lambda text: text.count("\n") == 3)
    assert "taken" not in await seen.page.browser.evaluate("document.title")
    past.log(run, "upgrade", "upgrade begins\n")
    await seen.page.until("!!document.querySelector('#log-upgrade[open]')")
    past.log(run, "upgrade", "and goes on\n")
    upgrade = "document.querySelector('#log-upgrade pre')?.textContent"
    await seen.page.until(upgrade, lambda text: "goes on" in (text or ""))
    await past.end(run, RunState.PASSED, result=result(run, "chat"))
    await seen.page.until("document.title", lambda title: "passed" in title)
    assert "4 of" not in await seen.page.text()
    assert await seen.page.refused() == []
    await seen.page.until("1", lambda _: seen.served.streams.open == 0)


async def test_without_scripts_the_page_reloads_and_shows_the_same(seen: Any, pages: Any) -> None:
    past = seen.past
    await past.runs.take(10)
    run = (await past.runs.of_recipe("blog"))[0].id
    past.log(run, "install", "first\n")
    await seen.page.set(scripts=False)
    try:
        await seen.page.open(f"/runs/{run}")
        before = await seen.page.asked(f"/runs/{run}")
        past.log(run, "install", "second\n")
        await seen.page.until_asked(f"/runs/{run}", before + 1)
        found = await seen.page.browser.call("DOM.getDocument", depth=-1)
        root = found["root"]["nodeId"]
        html = (await seen.page.browser.call("DOM.getOuterHTML", nodeId=root))["outerHTML"]
        assert "first\nsecond\n" in html
        assert seen.served.streams.open == 0
    finally:
        await seen.page.set()
        await past.end(run, RunState.CANCELLED, "by ada")


async def test_a_refused_stream_is_made_up_for_by_renewing(seen: Any, pages: Any) -> None:
    past = seen.past
    run = (await past.start("chat", pull_request=12)).id
    past.log(run, "install", "one\n")
    most, seen.served.streams.most = seen.served.streams.most, 0
    try:
        await seen.page.set()
        await seen.page.open(f"/runs/{run}")
        await seen.page.until("1", lambda _: seen.served.streams.refused >= 1)
        past.log(run, "install", "two\n")
        log = "document.querySelector('#log-install pre').textContent"
        await seen.page.until(log, lambda text: text == "one\ntwo\n")
    finally:
        seen.served.streams.most = most
        await past.end(run, RunState.CANCELLED, "by ada")


async def test_it_is_used_by_keyboard_alone(seen: Any, pages: dict[str, str]) -> None:
    await seen.page.set()
    await seen.page.open(pages["overview"])
    await seen.page.press("Tab")
    focused = "document.activeElement.textContent"
    assert await seen.page.browser.evaluate(focused) == "Skip to the content"
    seen_: list[str] = []
    for _ in range(40):
        await seen.page.press("Tab")
        seen_.append(str(await seen.page.browser.evaluate(focused)).strip())
        if seen_[-1] == "wiki":
            break
    assert seen_[-1] == "wiki", seen_
    outline = "getComputedStyle(document.activeElement).outlineWidth"
    assert await seen.page.browser.evaluate(outline) == "3px"
    await seen.page.press("Enter")
    await seen.page.until("document.title", lambda title: title.startswith("wiki"))
