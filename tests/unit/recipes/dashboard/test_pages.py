"""Pages and documents over HTTP, from a record and directories as bridge and engine leave them."""

from __future__ import annotations

import json
import re
import sqlite3
from typing import Any
from xml.etree import ElementTree

import pytest
from recipe_history import COMMIT, FAILURE, failed, png, result

from agency.recipes.dashboard.reading import PAGE
from agency.recipes.record.run import RunState

ATOM = "{http://www.w3.org/2005/Atom}"
EVIL = "<script>alert(1)</script>"
DAY_S = 86_400


async def test_the_overview_has_every_enrolled_recipe(board: Any) -> None:
    await board.past.passed("wiki")
    run = await board.past.failed("blog")
    page = await board.page("/")
    for name in ("wiki", "blog", "shop"):
        assert f'href="/recipes/{name}"' in page
    assert f'href="/runs/{run.id}"' in page
    assert "3 enrolled · 1 passed · 1 failed · 1 without a run" in page
    assert "1.1.0+1.27.2" in page
    rows = {row["recipe"]: row for row in (await board.json("/index.json"))["recipes"]}
    assert rows["wiki"]["latest"]["state"] == "passed"
    assert rows["wiki"]["latest"]["version"] == "1.1.0+1.27.2"
    assert rows["blog"]["latest"]["seconds"] == 84.0
    assert rows["shop"]["latest"] is None


async def test_it_can_be_chosen_and_ordered(board: Any) -> None:
    await board.past.passed("wiki")
    await board.past.failed("blog")

    def names(page: str) -> list[str]:
        return re.findall(r'<th scope="row"><a href="/recipes/(\w+)"', page)

    assert names(await board.page("/")) == ["blog", "shop", "wiki"]
    assert names(await board.page("/?q=WI")) == ["wiki"]
    assert names(await board.page("/?state=failed")) == ["blog"]
    assert names(await board.page("/?state=none")) == ["shop"]
    assert names(await board.page("/?sort=newest")) == ["blog", "wiki", "shop"]
    assert names(await board.page("/?sort=state")) == ["blog", "wiki", "shop"]
    assert names(await board.page("/?state=teapot&sort=teapot")) == []
    assert 'value="&lt;b&gt;"' in await board.page("/?q=<b>")


async def test_a_run_that_ended_since_changes_the_overview(board: Any) -> None:
    """Verdicts are kept in memory: neither an old run nor a new one may be missed."""

    async def verdicts() -> dict[str, list[str]]:
        found = await board.json("/index.json")
        return {row["recipe"]: row["verdicts"] for row in found["recipes"]}

    waiting = await board.past.start("wiki")
    assert await verdicts() == {"wiki": [], "blog": [], "shop": []}
    await board.past.failed("blog")
    assert (await verdicts())["blog"] == ["failed"]
    await board.past.end(waiting.id, RunState.PASSED)
    assert await verdicts() == {"wiki": ["passed"], "blog": ["failed"], "shop": []}
    await board.past.passed("blog")
    row = next(r for r in (await board.json("/index.json"))["recipes"] if r["recipe"] == "blog")
    assert row["verdicts"] == ["failed", "passed"]
    assert row["flakiness"] == {
        "runs": 2, "repeats": 1, "disagreeing": 1, "changes": 1, "share": 1.0,
    }  # fmt: skip
    assert "100 %" in await board.page("/")


async def test_the_queue_is_in_its_order(board: Any) -> None:
    running = await board.past.start("wiki")
    first = await board.past.add("blog")
    second = await board.past.add("shop")
    queue = (await board.json("/index.json"))["queue"]
    assert [one["run"] for one in queue] == [running.id, first.id, second.id]
    assert "1 before it" in await board.page(f"/runs/{second.id}")
    assert (await board.json(f"/runs/{second.id}.json"))["position"] == 1


async def test_a_run_has_a_page_that_stays(board: Any) -> None:
    run = await board.past.failed()
    board.past.file(run.id, "screenshots/front.png", png())
    board.past.file(run.id, "report.xml", b"<tests/>")
    page = await board.page(f"/runs/{run.id}")
    for text in (
        "https://git.example.org/team/wiki/pulls/7",
        f"https://git.example.org/team/wiki/commit/{COMMIT}",
        "ada", "0 of 1 tests passed", "upgrade failed", "nginx:1.27.2", "118", "sha256:5f0574",
        f"/runs/{run.id}/files/screenshots/front.png", f"/runs/{run.id}/files/report.xml",
        "wiki-pr-7-", "abra version 0.11.0-beta",
    ):  # fmt: skip
        assert text in page, text
    assert FAILURE.replace("'", "&#39;") in page
    assert re.search(r'id="log-upgrade" open', page), "the log of what failed is unfolded"
    assert not re.search(r'id="log-install" open', page)
    assert "http-equiv" not in page, "nothing changes any more"
    told = await board.json(f"/runs/{run.id}.json")
    assert told["result"] == json.loads(json.dumps(failed(run.id)))
    assert [one["name"] for one in told["logs"]] == ["install", "upgrade"]


async def test_a_run_that_goes_on_is_followed_with_and_without_scripts(board: Any) -> None:
    run = await board.past.start()
    assert "There are no logs yet" in await board.page(f"/runs/{run.id}")
    board.past.log(run.id, "progress", "install: begins\n")
    board.past.log(run.id, "install", "first\n")
    page = await board.page(f"/runs/{run.id}")
    assert '<noscript><meta http-equiv="refresh"' in page
    assert f'data-events="/runs/{run.id}/logs/install/events" data-offset="6"' in page
    board.past.log(run.id, "install", "second\n")
    assert "first\nsecond\n" in await board.page(f"/runs/{run.id}")


async def test_history_comes_in_pages(board: Any) -> None:
    ids = [(await board.past.passed()).id for _ in range(PAGE + 3)][::-1]
    first = await board.json("/recipes/wiki.json")
    assert [run["run"] for run in first["runs"]] == ids[:PAGE]
    second = await board.json(first["next"])
    assert [run["run"] for run in second["runs"]] == ids[PAGE:]
    assert second["next"] is None
    page = await board.page("/recipes/wiki")
    older = re.search(r'rel="next" href="([^"]+)"', page)
    assert older
    assert ids[-1] in await board.page(older[1])


async def test_a_recipe_that_was_dropped_keeps_its_history(board: Any) -> None:
    run = await board.past.passed("gone")
    assert run.id in await board.page("/recipes/gone")
    assert 'href="/recipes/gone"' in await board.page("/")
    await board.page("/recipes/never", 404)
    await board.json("/recipes/never.json", 404)


async def test_the_latest_run_has_an_address(board: Any) -> None:
    run = await board.past.passed()
    async with board.client.get("/recipes/wiki/latest", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, f"/runs/{run.id}")
    await board.json("/recipes/shop/latest", 404)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"stages": 3}', b"\xff\xfe\x00"])
async def test_a_damaged_result_is_told(board: Any, damage: str | bytes) -> None:
    run = await board.past.start()
    data = damage if isinstance(damage, bytes) else damage.encode()
    board.past.file(run.id, "result.json", data)
    await board.past.end(run.id, RunState.ERROR, "the result is not of its form")
    page = await board.page(f"/runs/{run.id}")
    assert re.search(r'role="alert">(result\.json is damaged|its stages cannot be read)', page)
    assert (await board.json(f"/runs/{run.id}.json"))["result_faults"]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"version": {"a": 1}}',
        '{"version": 7}',
        r'{"version": "\ud800", "abra": "\ud800", "domain": "a\u0000b"}',
        '{"version": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"version": "' + "x" * 100_000 + '"}',
    ],
    ids=["cut", "list", "object", "number", "surrogate", "deep", "long"],
)
async def test_a_damaged_result_on_record_hides_no_list(board: Any, text: str) -> None:
    run = await board.past.start()
    await board.past.end(run.id, RunState.ERROR, "", text)
    assert run.id in await board.page("/")
    assert run.id in await board.page("/recipes/wiki")
    await board.page(f"/runs/{run.id}")


async def test_lists_never_read_a_result(board: Any) -> None:
    """What a list asks the database for has no column `result` but for its version."""
    await board.past.passed()
    asked = []
    connection = sqlite3.connect(board.past.state / "recipes.db")
    connection.close()
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "before_cursor_execute")
    def seen(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    try:
        for path in ("/", "/index.json", "/recipes/wiki", "/feed.atom", "/recipes/wiki.json"):
            async with board.client.get(path) as answer:
                assert answer.status == 200
    finally:
        event.remove(Engine, "before_cursor_execute", seen)
    assert len(asked) > 5
    for statement in asked:
        without = re.sub(r"json_(valid|extract)\(runs\.result[^)]*\)", "", statement)
        assert "runs.result" not in without, statement


async def test_nothing_of_others_is_markup(board: Any) -> None:
    run = await board.past.start("wiki", requester=EVIL, commit='"><img src=x>' + "0" * 30)
    document = result(run.id, domain=EVIL, abra=EVIL, version=EVIL, usage={EVIL: EVIL})
    document["stages"][0] |= {"name": EVIL, "reason": EVIL, "notes": [EVIL], "outcome": "fail"}
    document["stages"][0]["tests"][0] |= {"name": EVIL, "reason": f"\x1b[31m{EVIL}\u202e"}
    document |= {"screenshots": [f"{EVIL}.png"], "images": [{EVIL: EVIL}], "overlay": [EVIL]}
    document["teardown"] = {"clean": False, "left": [EVIL], "swept": [EVIL]}
    board.past.log(run.id, "install", f"{EVIL}\n\x1b[31m{EVIL}\x1b[0m\n")
    board.past.file(run.id, f"{EVIL.replace('/', '')}.txt", b"x")
    await board.past.end(run.id, RunState.FAILED, f"{EVIL}\x07", document)
    for path in ("/", "/recipes/wiki", f"/runs/{run.id}", f"/runs/{run.id}/logs/install"):
        page = await board.page(path)
        assert "<script>alert" not in page, path
        assert "<img src=x" not in page, path
        assert "\x1b" not in page
        assert "\x07" not in page
        assert "\u202e" not in page
    assert "&lt;script&gt;alert(1)" in page
    page = await board.page(f"/runs/{run.id}")
    assert page.count("&lt;script&gt;alert(1)") >= 15
    assert "\\u202e" in page


async def test_a_hostile_name_of_a_recipe_is_a_name(board: Any) -> None:
    name = 'a"><script>'
    run = await board.past.passed(name)
    page = await board.page("/")
    assert "/recipes/a%22%3E%3Cscript%3E" in page
    assert run.id in await board.page("/recipes/a%22%3E%3Cscript%3E")
    async with board.client.get("/recipes/a%22%3E%3Cscript%3E/badge.svg") as answer:
        assert "<script>" not in await answer.text()
    ElementTree.fromstring(await board.page("/feed.atom"))


async def test_an_engine_names_no_page_but_of_the_web(board: Any) -> None:
    run = await board.past.start()
    await board.past.runs.place_at(run.id, "1", "javascript:alert(1)")
    assert "javascript:" not in await board.page(f"/runs/{run.id}")
    assert (await board.json(f"/runs/{run.id}.json"))["engine_url"] is None
    await board.past.runs.place_at(run.id, "1", "https://ci.example.org/1")
    assert 'href="https://ci.example.org/1"' in await board.page(f"/runs/{run.id}")


async def test_old_logs_are_not_shown_and_that_is_said(board: Any) -> None:
    run = await board.past.passed()
    paths = (
        "logs/install", "logs/install.txt", "logs/install/events", "files/screenshots/front.png",
    )  # fmt: skip
    board.past.time.now += 179 * DAY_S
    for path in paths:
        async with board.client.get(f"/runs/{run.id}/{path}") as answer:
            assert answer.status == 200, path
    board.past.time.now += 2 * DAY_S
    page = await board.page(f"/runs/{run.id}")
    assert "ended more than 180 days ago" in page
    assert "converged" not in page
    assert "4 of 4" not in page
    assert "1 of 1 tests passed" in page, "its result stays"
    for path in paths:
        assert "180 days" in (await board.json(f"/runs/{run.id}/{path}", 410))["error"]
    assert (await board.json(f"/runs/{run.id}.json"))["files_expired"] is True


async def test_badges_and_feeds(board: Any) -> None:
    await board.past.passed("wiki")
    await board.past.failed("blog")
    await board.past.start("blog")

    async def badge(name: str) -> tuple[str, str]:
        async with board.client.get(f"/recipes/{name}/badge.svg") as answer:
            assert answer.content_type == "image/svg+xml"
            return await answer.text(), answer.headers["ETag"]

    text, tag = await badge("wiki")
    assert "passed 1.1.0+1.27.2" in text
    assert (text, tag) == await badge("wiki"), "it is the same while the run is"
    headers = {"If-None-Match": tag}
    async with board.client.get("/recipes/wiki/badge.svg", headers=headers) as answer:
        assert answer.status == 304
    assert "failed" in (await badge("blog"))[0], "the verdict is of the run before"
    assert "no run yet" in (await badge("shop"))[0]
    feed = ElementTree.fromstring(await board.page("/feed.atom"))
    titles = [entry.findtext(f"{ATOM}title") for entry in feed.iter(f"{ATOM}entry")]
    assert titles == ["failed: blog 1.1.0+1.27.2", "passed: wiki 1.1.0+1.27.2"]
    links = [entry.find(f"{ATOM}link") for entry in feed.iter(f"{ATOM}entry")]
    assert all(str(one.get("href")).startswith("https://ci.example.org/runs/r") for one in links)
    one = ElementTree.fromstring(await board.page("/recipes/wiki/feed.atom"))
    assert len(list(one.iter(f"{ATOM}entry"))) == 1


async def test_health_and_numbers(board: Any) -> None:
    assert (await board.json("/health"))["healthy"] is True
    await board.past.passed()
    await board.page("/")
    async with board.client.get("/metrics") as answer:
        text = await answer.text()
    assert 'agency_recipes_dashboard_runs{state="passed"} 1.0' in text
    assert "agency_recipes_dashboard_streams 0.0" in text
    assert 'agency_recipes_dashboard_answers_total{status="2xx"} 2.0' in text


async def test_a_record_that_cannot_be_read_is_no_internal_error(board: Any) -> None:
    with sqlite3.connect(board.past.state / "recipes.db") as connection:
        connection.execute("ALTER TABLE runs RENAME TO away")
    for path in ("/", "/index.json", "/recipes/wiki", "/feed.atom", "/metrics", "/health"):
        await board.page(path, 503)
    with sqlite3.connect(board.past.state / "recipes.db") as connection:
        connection.execute("ALTER TABLE away RENAME TO runs")
    await board.page("/")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/runs/r99999999", 404),
        ("/runs/../../etc/passwd", 404),
        ("/runs/%2e%2e%2fetc", 404),
        ("/recipes/wiki?before=x", 400),
        ("/recipes/wiki?before=-1", 400),
        ("/recipes/wiki?before=99999999999999999999", 400),
        ("/nothing", 404),
    ],
)
async def test_wrong_addresses_are_refused_with_a_page(board: Any, path: str, status: int) -> None:
    page = await board.page(path, status)
    assert f"HTTP {status}" in page
    assert "/assets/" in page
    assert "error" in await board.json(path, status)


async def test_every_answer_has_the_headers_that_keep_a_browser_safe(board: Any) -> None:
    run = await board.past.passed()
    for path in (
        "/", f"/runs/{run.id}", "/nothing", "/index.json", "/recipes/wiki/badge.svg",
        f"/runs/{run.id}/logs/install.txt", f"/runs/{run.id}/files/screenshots/front.png",
    ):  # fmt: skip
        async with board.client.get(path) as answer:
            assert answer.headers["X-Content-Type-Options"] == "nosniff", path
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'"), path
            assert "unsafe" not in policy
    page = await board.page("/")
    assert not re.search(r"<script(?! type=\"module\" src=\"/assets/)", page)
    assert not re.search(r"\sstyle=|<style|\son\w+=", page)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//(?!git\.example\.org)", page)


async def test_nothing_changes_by_any_method(board: Any) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        async with board.client.request(method, "/") as answer:
            assert answer.status == 405
