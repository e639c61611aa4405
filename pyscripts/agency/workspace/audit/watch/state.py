"""State of the watch: head, place and counts of each agent's log, kept outside the logs."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from agency import chain
from agency.errors import BadInputError
from agency.files import write_atomically
from agency.settings import Strict, load
from agency.workspace.audit.watch.tallies import Tally

_STATE = "watched.json"
_HASH = r"^[0-9a-f]{64}$"


class Watched(Strict):
    """One agent's log as it was last read.

    `head` is the last record that was followed, `offset` its end in the file `inode`; `whole_at` is
    when the whole log was last verified, and `broken` says what was wrong, until that is mended.
    """

    sequence: int = Field(ge=0)
    hash: str = Field(pattern=_HASH)
    inode: int = Field(default=0, ge=0)
    offset: int = Field(default=0, ge=0)
    whole_at: float = 0.0
    broken: str | None = None
    tally: Tally = Tally()

    @property
    def head(self) -> chain.Head:
        """The last record that was followed."""
        return chain.Head(self.sequence, self.hash)


class State(Strict):
    """Every agent's log as it was last read."""

    version: int = Field(default=1, ge=1, le=1)
    agents: dict[str, Watched] = Field(default_factory=dict)


def read_state(directory: Path) -> State:
    """Read the state; an empty one if there was none.

    Raises:
        BadInputError: the file is not a state.
    """
    path = directory / _STATE
    try:
        return load(path, State, what="the state of the watch") if path.exists() else State()
    except BadInputError as error:
        raise BadInputError(
            error.message,
            where=str(path),
            hint="move it away: the logs are then read anew, without the heads that it kept",
        ) from error


def write_state(directory: Path, state: State) -> None:
    """Write the state, for this user alone."""
    write_atomically(directory / _STATE, state.model_dump_json().encode() + b"\n", mode=0o600)
