"""Handlers of the pages, and of the same as JSON."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import hdrs, web

from agency.recipes.dashboard.files import NoFileError, RunFiles
from agency.recipes.dashboard.logs.pieces import MOST_PIECE, piece, tail
from agency.recipes.dashboard.reading import Reading
from agency.recipes.dashboard.views import documents, links, models, publishing
from agency.recipes.dashboard.views.links import ForgeLinks
from agency.recipes.dashboard.views.models import Wanted
from agency.recipes.dashboard.views.rendering import page
from agency.recipes.naming import is_run_id
from agency.recipes.record.run import Run, RunState

_MOST_NUMBER = 2**53
_FEED, _BADGE = "application/atom+xml", "image/svg+xml"


@dataclass(frozen=True, slots=True)
class Pages:
    """Handlers that show the state of recipe CI."""

    reading: Reading

    def add_to(self, app: web.Application) -> None:
        """Serve the pages. Of two paths that match, the first one answers."""
        name, run, log = "{recipe:[^/]{1,255}}", "{run:[^/.]{1,40}}", "{log:[^/.]{1,80}}"
        for path, handler in (
            ("/", self.overview),
            ("/index.json", self.overview_json),
            ("/feed.atom", self.feed),
            (f"/recipes/{name}/badge.svg", self.badge),
            (f"/recipes/{name}/feed.atom", self.feed),
            (f"/recipes/{name}/latest", self.latest),
            (f"/recipes/{name}.json", self.recipe_json),
            (f"/recipes/{name}", self.recipe),
            (f"/runs/{run}.json", self.run_json),
            (f"/runs/{run}", self.run),
            (f"/runs/{run}/logs/{log}", self.log),
        ):
            app.router.add_get(path, handler)

    @property
    def _forge(self) -> ForgeLinks:
        return ForgeLinks(self.reading.config.forge)

    @property
    def _base(self) -> str:
        return f"https://{self.reading.config.hosts.dashboard}"

    def html(self, template: str, **values: Any) -> web.Response:
        """Answer with a page."""
        values |= {
            "domain": self.reading.config.domain,
            "days": self.reading.days,
            "now": self.reading.clock.now_ms(),
            "forge": self._forge,
            "base": self._base,
        }
        return web.Response(
            body=page(template, **values), content_type="text/html", charset="utf-8"
        )

    async def overview(self, request: web.Request) -> web.StreamResponse:
        """Show every recipe."""
        query = request.query
        wanted = Wanted(
            query.get("q", "")[:64], query.get("state", ""), query.get("sort", models.SORTS[0])
        )
        found, dropped = await self.reading.rows()
        counts = await self.reading.runs.counts()
        return self.html(
            "overview",
            rows=models.chosen(found, wanted),
            total=len(found),
            tally=models.states(found),
            queue=await self.reading.queue(),
            waiting=counts[RunState.QUEUED] + counts[RunState.RUNNING],
            wanted=wanted,
            states=[*(state.value for state in RunState), "none"],
            sorts=models.SORTS,
            dropped=dropped,
        )

    async def overview_json(self, _: web.Request) -> web.StreamResponse:
        """Describe every recipe, and what runs and waits."""
        found, _dropped = await self.reading.rows()
        queue, counts = await self.reading.queue(), await self.reading.runs.counts()
        return web.json_response(documents.overview(found, queue, counts, self._forge))

    async def recipe(self, request: web.Request) -> web.StreamResponse:
        """Show a recipe with a page of its history."""
        name, before = request.match_info["recipe"], _number(request, "before")
        runs, older = await self.reading.page(name, before)
        enrolled = self._known(name, bool(runs) or before is not None)
        tally = await self.reading.tallies.of(name)
        return self.html(
            "recipe",
            name=name,
            repository=enrolled.repository if enrolled else "",
            runs=runs,
            older=older,
            newest=before is not None,
            tally=tally,
            badge=tally.strip[-1].value if tally.strip else "no run yet",
        )

    async def recipe_json(self, request: web.Request) -> web.StreamResponse:
        """Describe a recipe with a page of its history."""
        name, before = request.match_info["recipe"], _number(request, "before")
        runs, older = await self.reading.page(name, before)
        enrolled = self._known(name, bool(runs) or before is not None)
        flaky = (await self.reading.tallies.of(name)).flakiness
        return web.json_response(
            documents.recipe(name, enrolled is not None, runs, flaky, older, self._forge)
        )

    def _known(self, name: str, has_runs: bool) -> Any:
        enrolled = self.reading.config.recipes.get(name)
        if enrolled is None and not has_runs:
            raise web.HTTPNotFound(reason="no such recipe")
        return enrolled

    async def latest(self, request: web.Request) -> web.StreamResponse:
        """Lead to the latest run of a recipe."""
        runs, _ = await self.reading.page(request.match_info["recipe"], None)
        if not runs:
            raise web.HTTPNotFound(reason="no run of this recipe")
        raise web.HTTPFound(links.of_run(runs[0].run.id))

    async def badge(self, request: web.Request) -> web.StreamResponse:
        """Draw the badge of a recipe, also of one that is not known: it is part of a page."""
        name = request.match_info["recipe"]
        verdicts = await self.reading.verdicts(name, 1)
        drawn = publishing.badge(name, verdicts[0] if verdicts else None)
        return _kept(request, drawn, _BADGE)

    async def feed(self, request: web.Request) -> web.StreamResponse:
        """Write the feed of a recipe, or of all."""
        name = request.match_info.get("recipe")
        verdicts = await self.reading.verdicts(name, 2 * publishing.MOST_ENTRIES)
        if name is not None:
            self._known(name, bool(verdicts))
        return _kept(request, publishing.feed(self._base, name, verdicts), _FEED)

    async def found_run(self, request: web.Request) -> Run:
        """Find the run of a request.

        Raises:
            web.HTTPNotFound: there is none.
        """
        name = request.match_info["run"]
        run = await self.reading.runs.run(name) if is_run_id(name) else None
        if run is None:
            raise web.HTTPNotFound(reason="no such run")
        return run

    async def shown_files(self, request: web.Request) -> tuple[Run, RunFiles]:
        """Find the files of a request's run.

        Raises:
            web.HTTPNotFound: there is no such run.
            web.HTTPGone: they are too old.
        """
        run = await self.found_run(request)
        if self.reading.expired(run):
            raise web.HTTPGone(reason=f"logs and files are shown for {self.reading.days} days")
        return run, RunFiles(self.reading.artifacts, run.id)

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Show a run."""
        return self.html("run", view=await self.reading.view(await self.found_run(request)))

    async def run_json(self, request: web.Request) -> web.StreamResponse:
        """Describe a run."""
        view = await self.reading.view(await self.found_run(request))
        return web.json_response(documents.run(view, self._forge, self.reading.days))

    async def log(self, request: web.Request) -> web.StreamResponse:
        """Show a part of a log; without `from`, its end."""
        run, files = await self.shown_files(request)
        name, start = request.match_info["log"], _number(request, "from")
        ask = partial(tail, files, name, MOST_PIECE)
        if start is not None:
            ask = partial(piece, files, name, start)
        shown = await or_not_found(partial(ask, live=not run.state.ended))
        earlier = max(0, shown.start - MOST_PIECE)
        return self.html("log", run=run, log=name, piece=shown, earlier=earlier)


async def or_not_found(work: Callable[[], Any]) -> Any:
    """Do what reads a file in a thread; a file that may not be shown is not found."""
    try:
        return await asyncio.to_thread(work)
    except NoFileError as error:
        raise web.HTTPNotFound(reason="no such file") from error


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 16:
        raise web.HTTPBadRequest(reason=f"{name} is a number")
    return min(int(text), _MOST_NUMBER)


def _kept(request: web.Request, text: str, content_type: str) -> web.Response:
    """Answer with a text that clients may keep, as long as they ask whether it is the same."""
    data = text.encode(errors="replace")
    tag = hashlib.sha256(data).hexdigest()[:32]
    headers = {hdrs.ETAG: f'"{tag}"', hdrs.CACHE_CONTROL: "no-cache"}
    if any(one.value in ("*", tag) for one in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=data, content_type=content_type, charset="utf-8", headers=headers)
