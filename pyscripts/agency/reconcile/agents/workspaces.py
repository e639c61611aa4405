"""agent-workspaces: every agent has a closed home and a workspace of its own.

The reconciler makes missing files and never overwrites an agent's changes. The agent can write its
home and everything in it, so the reconciler trusts nothing there (see guarded.py), and runs git as
the agent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from agency import guarded
from agency.errors import AgencyError
from agency.guarded import NOTHING, Kind, Seen
from agency.naming import AGENT_PREFIX
from agency.programs import ProgramError, find_program
from agency.reconcile.engine.contract import ABSENT, Change, Settings
from agency.secrets import SecretValue
from agency.workspace import DIRECTORIES, Identity, Repository, Signature, files

WORKSPACE = "agent-space"
_MODE = 0o700


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    return text


def _home(path: Path) -> Path:
    if not path.is_absolute() or ".." in path.parts or path.name == "":
        raise ValueError("must be an absolute path without '..'")
    return path


Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]


class AgentWorkspace(Settings):
    """One agent; a repository without a remote gets `remote`."""

    name: Line
    role: Line
    full_name: Line
    matrix_id: Line
    email: Line | None = None
    uid: int = Field(ge=1)
    gid: int = Field(ge=1)
    home: Annotated[Path, AfterValidator(_home)]
    remote: Annotated[str, Field(pattern=r"^(https|ssh)://[!-~]+$")] | None = None


class AgentWorkspacesSettings(Settings):
    """Settings for every agent of the machine."""

    domain: Line
    operators: tuple[Line, ...]
    agents: tuple[AgentWorkspace, ...]

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        for what in ("name", "uid", "home"):
            values = [getattr(agent, what) for agent in self.agents]
            doubles = {str(value) for value in values if values.count(value) > 1}
            if doubles:
                raise ValueError(f"two agents have the {what} {', '.join(sorted(doubles))}")
        return self


SETTINGS = AgentWorkspacesSettings


@dataclass(frozen=True, slots=True)
class Place:
    """Observed files of one agent; `problem` says why the observation stopped there.

    `has_origin` is an error where the agent's repository cannot be read.
    """

    home: Seen = NOTHING
    workspace: Seen = NOTHING
    entries: Mapping[str, Seen] = field(default_factory=dict)
    git: Seen = NOTHING
    has_origin: bool | AgencyError = False
    problem: AgencyError | None = None


class Step(Enum):
    """Kinds of changes."""

    MAKE = auto()
    GIVE = auto()
    CLOSE = auto()
    INIT = auto()
    REMOTE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceChange(Change):
    """A change for one agent; `path` is relative to the directory that holds its home."""

    agent: AgentWorkspace
    path: tuple[str, ...]
    step: Step | None = None


@dataclass(frozen=True, slots=True)
class AgentWorkspaces:
    """Reconciler of agents' homes and workspaces."""

    settings: AgentWorkspacesSettings
    repository: Repository

    def secrets(self) -> tuple[SecretValue, ...]:
        """Return no secrets."""
        return ()

    async def observe(self) -> dict[str, Place]:
        """Observe every agent's home; a problem with one does not hide the others."""
        return await asyncio.to_thread(
            lambda: {agent.name: self._place(agent) for agent in self.settings.agents}
        )

    def _place(self, agent: AgentWorkspace) -> Place:
        try:
            return self._looked(agent)
        except AgencyError as error:
            return Place(problem=error)

    def _looked(self, agent: AgentWorkspace) -> Place:
        with guarded.directory(agent.home.parent) as homes:
            home = guarded.look(homes, agent.home.name)
            if home.kind is not Kind.DIRECTORY:
                return Place(home=home)
            with guarded.subdirectory(homes, agent.home.name) as inside:
                workspace = guarded.look(inside, WORKSPACE)
                if workspace.kind is not Kind.DIRECTORY:
                    return Place(home=home, workspace=workspace)
                with guarded.subdirectory(inside, WORKSPACE) as space:
                    names = (*DIRECTORIES, *self._files(agent))
                    entries = {name: guarded.look(space, name) for name in names}
                    git = guarded.look(space, ".git")
        has_origin: bool | AgencyError = False
        if agent.remote is not None and git.kind is Kind.DIRECTORY and git.uid == agent.uid:
            try:
                place = agent.home / WORKSPACE
                has_origin = self.repository.has_origin(place, agent.uid, agent.gid)
            except ProgramError as error:
                has_origin = error
        return Place(home, workspace, entries, git, has_origin)

    def _files(self, agent: AgentWorkspace) -> dict[str, str]:
        return files(
            Identity(
                name=agent.name,
                role=agent.role,
                full_name=agent.full_name,
                matrix_id=agent.matrix_id,
                email=self._email(agent),
                domain=self.settings.domain,
                operators=self.settings.operators,
            )
        )

    def _email(self, agent: AgentWorkspace) -> str:
        return agent.email or f"{AGENT_PREFIX}{agent.name}@{self.settings.domain}"

    def plan(self, observed: dict[str, Place]) -> tuple[WorkspaceChange, ...]:
        """List missing files, wrong owners, and files that are open to other users."""
        changes: list[WorkspaceChange] = []
        for agent in self.settings.agents:
            planner = _Planner(agent, observed[agent.name])
            changes += planner.plan(tuple(self._files(agent)))
        return tuple(changes)

    async def apply(self, change: WorkspaceChange) -> None:
        """Make one change."""
        await asyncio.to_thread(self._apply, change)

    def _apply(self, change: WorkspaceChange) -> None:
        agent = change.agent
        if change.step in {Step.INIT, Step.REMOTE}:
            where = agent.home / WORKSPACE
            if change.step is Step.INIT:
                author = Signature(agent.full_name, self._email(agent))
                self.repository.init(where, agent.uid, agent.gid, author)
            elif agent.remote is not None:
                self.repository.add_origin(where, agent.remote, agent.uid, agent.gid)
            return
        with guarded.directory(agent.home.parent) as homes:
            self._apply_in(homes, change.path, change)

    def _apply_in(self, parent: int, path: tuple[str, ...], change: WorkspaceChange) -> None:
        name, *rest = path
        if rest:
            with guarded.subdirectory(parent, name) as inside:
                self._apply_in(inside, tuple(rest), change)
            return
        uid, gid = change.agent.uid, change.agent.gid
        match change.step:
            case Step.MAKE:
                content = self._files(change.agent).get(name) if len(change.path) > 2 else None
                if content is None:
                    guarded.make_directory(parent, name, uid=uid, gid=gid)
                else:
                    guarded.make_file(parent, name, content.encode(), uid=uid, gid=gid)
            case Step.GIVE:
                trusted = len(change.path) == 1  # the agent cannot write where homes are
                guarded.give(parent, name, uid=uid, gid=gid, trusted=trusted)
            case Step.CLOSE:
                guarded.set_mode(parent, name, _MODE)


@dataclass(frozen=True, slots=True)
class _Planner:
    """Plan for one agent."""

    agent: AgentWorkspace
    place: Place

    def plan(self, files: tuple[str, ...]) -> list[WorkspaceChange]:
        place = self.place
        if place.problem is not None:
            error = place.problem
            return [self._change((), "home", "cannot be seen", "seen", blocked=str(error))]
        home = self.agent.home.name
        top = [
            *self._directory((home,), place.home, closed=True),
            *self._directory((home, WORKSPACE), place.workspace, closed=True),
        ]
        if any(change.blocked for change in top):
            return top
        changes = top
        for name in DIRECTORIES:
            seen = place.entries.get(name, NOTHING)
            changes += self._directory((home, WORKSPACE, name), seen, closed=False)
        for name in files:
            changes += self._file((home, WORKSPACE, name), place.entries.get(name, NOTHING))
        return [*changes, *self._repository((home, WORKSPACE, ".git"))]

    def _directory(
        self, path: tuple[str, ...], seen: Seen, *, closed: bool
    ) -> list[WorkspaceChange]:
        if seen.kind is Kind.ABSENT:
            return [self._change(path, "directory", ABSENT, "made", step=Step.MAKE)]
        if seen.kind is not Kind.DIRECTORY:
            return [self._in_the_way(path, seen, "a directory")]
        changes = self._owner(path, seen)
        if closed and seen.mode != _MODE:
            before, after = f"{seen.mode:04o}", f"{_MODE:04o}"
            changes.append(self._change(path, "mode", before, after, step=Step.CLOSE))
        return changes

    def _file(self, path: tuple[str, ...], seen: Seen) -> list[WorkspaceChange]:
        if seen.kind is Kind.ABSENT:
            return [self._change(path, "file", ABSENT, "made", step=Step.MAKE)]
        if seen.kind is not Kind.FILE:
            return [self._in_the_way(path, seen, "a file")]
        return self._owner(path, seen)

    def _repository(self, path: tuple[str, ...]) -> list[WorkspaceChange]:
        git, remote, has_origin = self.place.git, self.agent.remote, self.place.has_origin
        if git.kind not in {Kind.ABSENT, Kind.DIRECTORY}:
            return [self._in_the_way(path, git, "a directory")]
        if git.kind is Kind.DIRECTORY and git.uid != self.agent.uid:
            return [self._strange(path, git)]
        changes = []
        if git.kind is Kind.ABSENT:
            changes.append(self._change(path, "repository", ABSENT, "made", step=Step.INIT))
        if isinstance(has_origin, AgencyError):
            hint = "have the agent, or an operator as that user, mend or move away its repository"
            blocked = str(has_origin)
            return [self._change(path, "remote", "unknown", "seen", blocked=blocked, hint=hint)]
        if remote is not None and not has_origin:
            changes.append(self._change(path, "remote", ABSENT, remote, step=Step.REMOTE))
        return changes

    def _owner(self, path: tuple[str, ...], seen: Seen) -> list[WorkspaceChange]:
        wanted = f"{self.agent.uid}:{self.agent.gid}"
        if seen.owner == wanted:
            return []
        # The home itself lies where the agent cannot put anything.
        if len(path) == 1 or seen.uid == self.agent.uid or guarded.may_be_given(seen):
            return [self._change(path, "owner", seen.owner, wanted, step=Step.GIVE)]
        return [self._strange(path, seen)]

    def _strange(self, path: tuple[str, ...], seen: Seen) -> WorkspaceChange:
        return self._change(
            path,
            "owner",
            seen.owner,
            f"{self.agent.uid}:{self.agent.gid}",
            blocked="it belongs to another user, and giving it away could show the agent what it "
            "cannot read",
            hint="examine it; then chown it, or move it away",
        )

    def _in_the_way(self, path: tuple[str, ...], seen: Seen, wanted: str) -> WorkspaceChange:
        return self._change(
            path,
            "kind",
            seen.kind.value,
            wanted,
            blocked=f"{seen.kind.value} is in its place, and is neither followed nor removed",
            hint="examine it, and move it away",
        )

    def _change(
        self,
        path: tuple[str, ...],
        what: str,
        before: str,
        after: str,
        *,
        step: Step | None = None,
        blocked: str | None = None,
        hint: str | None = None,
    ) -> WorkspaceChange:
        return WorkspaceChange(
            part=f"agent {self.agent.name}",
            what=f"{'/'.join(path)} {what}".strip(),
            before=before,
            after=after,
            agent=self.agent,
            path=path,
            step=step,
            blocked=blocked,
            hint=hint,
        )


@asynccontextmanager
async def opened(settings: AgentWorkspacesSettings) -> AsyncIterator[AgentWorkspaces]:
    """Open the reconciler with this machine's git."""
    git = find_program("git", hint="install git, or add it to the unit's path")
    yield AgentWorkspaces(settings, Repository(git))
