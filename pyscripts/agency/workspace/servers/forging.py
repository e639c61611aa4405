"""Tools of a forge: issues of one project, and the handing in of an agent's branches.

The token is the server's alone; policy decides each call by its tool and arguments.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path

from agency.errors import UsageError
from agency.forge import Forge, NewMergeRequest
from agency.secrets import SecretValue
from agency.workspace.servers.handing_in import check_branch, push
from agency.workspace.servers.serving import Arguments, Offer

TOKEN_VARIABLE = "FORGE_TOKEN"  # noqa: S105 - the variable's name
_MAX_TITLE, _MAX_TEXT, _MOST = 200, 8000, 100
_LABEL = re.compile(r"[a-z0-9][a-z0-9:_.-]{0,59}\Z")


@dataclass(frozen=True, slots=True)
class Checkout:
    """Place from which branches are handed in; their names begin with `prefix`."""

    place: Path
    prefix: str


@dataclass(frozen=True, slots=True)
class Forging:
    """The tools, over one project of a forge."""

    forge: Forge
    project: str
    token: SecretValue
    checkout: Checkout | None = None

    def offers(self) -> tuple[Offer, ...]:
        """List the tools; handing in is offered where there is a checkout."""
        title, text = "one line", "plain text or Markdown"
        offers = (
            Offer("list_issues", "List the open issues of the project.", self.list_issues),
            Offer(
                "open_issue",
                "Open an issue; with the label agent:NAME it is that agent's task.",
                self.open_issue,
                {"title": title, "text": text, "label": "one label, such as agent:developer"},
                frozenset({"label"}),
            ),
            Offer(
                "comment_issue",
                "Comment on an issue.",
                self.comment_issue,
                {"issue": "its number", "text": text},
            ),
        )
        if self.checkout is None:
            return offers
        handing_in = Offer(
            "hand_in",
            "Push a branch of your own, and open a merge request of it.",
            self.hand_in,
            {"branch": f"its whole name, {self.checkout.prefix}...", "title": title, "text": text},
        )
        return (*offers, handing_in)

    async def list_issues(self, _: Arguments) -> str:
        """List the open issues."""
        found = await self.forge.open_issues(self.project)
        rows = [
            {
                "issue": each.number,
                "title": each.title,
                "labels": each.labels,
                "text": each.text[:500],
            }
            for each in found[:_MOST]
        ]
        return json.dumps(rows, ensure_ascii=False)

    async def open_issue(self, given: Arguments) -> str:
        """Open an issue."""
        title, text, label = _title(given), _text(given), given.get("label", "")
        if label and not _LABEL.match(label):
            raise UsageError("a label has 1 to 60 of a-z, 0-9 and : _ . -", where="label")
        made = await self.forge.open_issue(
            self.project, title, text, labels=(label,) if label else ()
        )
        return f"issue {made.number}: {made.web_url}"

    async def comment_issue(self, given: Arguments) -> str:
        """Comment on an issue."""
        if not re.fullmatch(r"[1-9][0-9]{0,8}", given["issue"]):
            raise UsageError("an issue has a number", where="issue")
        await self.forge.comment_issue(self.project, int(given["issue"]), _text(given))
        return f"commented on issue {given['issue']}"

    async def hand_in(self, given: Arguments) -> str:
        """Push a branch, and open a merge request; a second time only pushes."""
        if self.checkout is None:
            raise UsageError("there is nothing to hand in from")
        branch = check_branch(given["branch"], self.checkout.prefix)
        title, text = _title(given), _text(given)
        project = await self.forge.project(self.project)
        user = await self.forge.current_user()
        place, url = self.checkout.place, project.clone_url
        sha = await asyncio.to_thread(push, place, branch, url, user.name, self.token)
        open_now = await self.forge.open_merge_requests(self.project)
        known = next((each for each in open_now if each.head_sha == sha), None)
        if known is None:
            wish = NewMergeRequest(title, text, branch, project.default_branch)
            known = await self.forge.open_merge_request(self.project, wish)
        return f"{branch} is at {sha}; merge request {known.number}: {known.web_url}"


def _title(given: Arguments) -> str:
    title = " ".join(str(given["title"]).split())
    if not title or len(title) > _MAX_TITLE:
        raise UsageError(f"a title has 1 to {_MAX_TITLE} characters", where="title")
    return title


def _text(given: Arguments) -> str:
    text = str(given["text"]).strip()
    if not text or len(text) > _MAX_TEXT:
        raise UsageError(f"a text has 1 to {_MAX_TEXT} characters", where="text")
    return text
