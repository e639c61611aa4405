"""Addresses that pages link to: of the dashboard, and of the forge. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from agency.recipes.configuration import ForgeSettings
from agency.recipes.record.run import Order


def of_run(run: str) -> str:
    """Return the path of a run's page."""
    return f"/runs/{quote(run, safe='')}"


def of_recipe(recipe: str) -> str:
    """Return the path of a recipe's page."""
    return f"/recipes/{quote(recipe, safe='')}"


def of_log(run: str, log: str) -> str:
    """Return the path of a log's page."""
    return f"{of_run(run)}/logs/{quote(log, safe='')}"


def of_file(run: str, path: str) -> str:
    """Return the path of a file of a run."""
    return f"{of_run(run)}/files/{quote(path)}"


def web(url: str) -> str:
    """Return an address if it is one of the web; else nothing: others name it."""
    try:
        good = urlsplit(url).scheme in ("http", "https")
    except ValueError:
        good = False
    return url if good else ""


@dataclass(frozen=True, slots=True)
class ForgeLinks:
    """Pages of the forge."""

    forge: ForgeSettings

    def pull_request(self, order: Order) -> str:
        """Return the page of the pull request; empty if there is none."""
        part = "pulls" if self.forge.kind == "gitea" else "-/merge_requests"
        return self._page(order.project, f"{part}/{order.pull_request}", order.pull_request > 0)

    def commit(self, order: Order) -> str:
        """Return the page of the commit."""
        part = "commit" if self.forge.kind == "gitea" else "-/commit"
        return self._page(order.project, f"{part}/{quote(order.commit, safe='')}", True)

    def repository(self, project: str) -> str:
        """Return the page of a repository."""
        return self._page(project, "", True)

    def _page(self, project: str, rest: str, there: bool) -> str:
        base = web(self.forge.url).rstrip("/")
        return f"{base}/{quote(project)}/{rest}".rstrip("/") if base and project and there else ""
