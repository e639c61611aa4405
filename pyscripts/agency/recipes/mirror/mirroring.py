"""Way of a recipe onto the forge: its mirror, brought to upstream's, then a merge request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from agency.errors import BadInputError
from agency.forge import Forge, ForgeError, MergeRequest, NewMergeRequest, Project
from agency.recipes.mirror.repository import CHANGE, MIRROR, UPSTREAM, Bare, Login

MAIN = "main"
_SYNCED = f"{MIRROR}/main"
_LATE = (404, 409)
_LOOKS, _PAUSE_S = 30, 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """Order for a mirror: whence, whither, and what of one's own to propose.

    `change` is a repository and a ref of it; None makes or brings up the mirror alone.
    """

    repository: str
    upstream: str
    change: tuple[str, str] | None
    branch: str
    title: str | None
    discard: bool


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Result; `discarded` counts the commits of main that upstream lacks."""

    repository: str
    web_url: str
    created: bool
    before: str | None
    main: str
    discarded: int
    tags: int
    merge_request: str | None

    def as_dict(self) -> dict[str, Any]:
        """Describe it for `--json`."""
        return asdict(self)


async def mirror(
    forge: Forge, order: Order, bare: Bare, login: Callable[[Project, str], Login]
) -> Mirrored:
    """Bring the mirror's main and tags to upstream's, push the branch, make the merge request.

    Raises:
        BadInputError: upstream or the change cannot be fetched, main has commits of its own, or
            the branch has nothing that main lacks.
        ForgeError: the forge refuses something.
    """
    bare.fetch(order.upstream, f"+HEAD:{UPSTREAM}/main", "+refs/tags/*:refs/tags/*")
    upstream = bare.commit(f"{UPSTREAM}/main")
    assert upstream is not None
    proposed = _proposed(order, bare, upstream)
    user = (await forge.current_user()).name
    project, created = await _project(forge, order.repository)
    with_token = login(project, user)
    before = None if created else _fetch_main(project, bare, with_token)
    discarded = bare.lost(before, upstream) if before else 0
    if discarded and not order.discard:
        raise BadInputError(
            f"main has {discarded} commits that upstream lacks",
            where=project.web_url,
            hint="is it a mirror? --discard replaces its main by upstream's",
        )
    if before != upstream:
        # The lease: what somebody pushed since it was read is not overwritten.
        lease = f"--force-with-lease=refs/heads/{MAIN}:{before or ''}"
        bare.push(with_token, project.clone_url, lease, f"{upstream}:refs/heads/{MAIN}")
    tags = bare.tags()
    if tags:
        bare.push(with_token, project.clone_url, "refs/tags/*:refs/tags/*")
    request = None
    if proposed is not None:
        force = "+" if order.discard else ""
        bare.push(with_token, project.clone_url, f"{force}{proposed}:refs/heads/{order.branch}")
        request = await _request(forge, order, bare.subject(proposed), proposed)
    return Mirrored(
        repository=project.path,
        web_url=project.web_url,
        created=created,
        before=before,
        main=upstream,
        discarded=discarded,
        tags=len(tags),
        merge_request=request.web_url if request else None,
    )


def _proposed(order: Order, bare: Bare, upstream: str) -> str | None:
    if order.change is None:
        return None
    place, ref = order.change
    bare.fetch(place, f"+{ref}:{CHANGE}/head")
    proposed = bare.commit(f"{CHANGE}/head")
    assert proposed is not None
    if not bare.lost(proposed, upstream):
        raise BadInputError(
            "nothing is proposed: upstream has every commit of it",
            where=f"{place}@{ref}",
            hint="commit the change first",
        )
    return proposed


async def _project(forge: Forge, path: str) -> tuple[Project, bool]:
    try:
        return await forge.project(path), False
    except ForgeError as error:
        if error.status != 404:
            raise
    return await forge.create_project(path), True


def _fetch_main(project: Project, bare: Bare, login: Login) -> str | None:
    """Fetch the mirror's main; None if it has none. git says it: a forge's own list may be late."""
    if bare.remote_commit(login, project.clone_url, f"refs/heads/{MAIN}") is None:
        return None
    bare.fetch_with(login, project.clone_url, f"+refs/heads/{MAIN}:{_SYNCED}")
    return bare.commit(_SYNCED)


async def _request(forge: Forge, order: Order, subject: str, head: str) -> MergeRequest:
    """Return the open merge request of this head; make it if there is none.

    A forge sees later what git has pushed: until then its new repository is empty (404), and a
    merge request of the branch has its former head (409).
    """
    text = f"Proposed onto {order.upstream}. Comment `!testme` to test it."
    new = NewMergeRequest(order.title or subject, text, order.branch, MAIN)
    look = 1
    while True:
        try:
            found = await _open(forge, order, head)
            return found or await forge.open_merge_request(order.repository, new)
        except ForgeError as error:
            if error.status not in _LATE or look == _LOOKS:
                raise
        look += 1
        await asyncio.sleep(_PAUSE_S)


async def _open(forge: Forge, order: Order, head: str) -> MergeRequest | None:
    for one in await forge.open_merge_requests(order.repository):
        if one.head_sha == head and one.target_branch == MAIN:
            return one
    return None
