"""Preparation of a launch: its directory and files, and the environment that the agent gets."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from agency.agent.programs.command.launching import (
    TOKEN_MARK,
    Agent,
    Launch,
    LaunchError,
    RenderedFile,
    Settings,
)

_MAX_TOKEN = 4096
# Of the caller's environment an agent gets these alone: no key, no proxy, no configuration.
_PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "TERM")


def check_directory(agent: Agent, launch: Launch) -> None:
    """Refuse a start where the agent would run a repository's code unasked.

    Raises:
        LaunchError: such code is there.
    """
    for directory in (launch.directory, *launch.directory.parents):
        for name in agent.runs_unasked:
            if os.path.lexists(directory / name):
                raise LaunchError(
                    f"{agent.name} would run what is there, whatever it is told",
                    where=str(directory / name),
                    hint="remove it, or set own-tools to off",
                )


def write_files(launch: Launch) -> None:
    """Make the directory of a launch and write its files, each whole or not at all.

    Raises:
        LaunchError: a token cannot be read, or a file cannot be written.
    """
    try:
        launch.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LaunchError(
            f"the directory cannot be made: {error.strerror}", where=str(launch.directory)
        ) from None
    for file in launch.files:
        text = file.content
        if file.token is not None:
            text = text.replace(TOKEN_MARK, read_token(file.token))
        try:
            _write(file, text)
        except OSError as error:
            raise LaunchError(
                f"the file cannot be written: {error.strerror}", where=str(file.path)
            ) from None


def environment_of(
    launch: Launch, settings: Settings, inherited: Mapping[str, str]
) -> dict[str, str]:
    """Return the whole environment of an agent, with the tokens that it takes from there.

    Raises:
        LaunchError: a token cannot be read.
    """
    passed = {name: inherited[name] for name in _PASSED if name in inherited}
    tokens = {name: read_token(path) for name, path in launch.tokens.items()}
    return {**passed, "HOME": str(settings.state), **launch.environment, **tokens}


def read_token(path: Path) -> str:
    """Return the token in a file, of one line.

    Raises:
        LaunchError: the file cannot be read, or holds no token.
    """
    try:
        with path.open("rb") as stream:
            token = stream.read(_MAX_TOKEN + 1).decode("ascii").strip()
    except OSError as error:
        raise LaunchError(f"the token cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        token = ""
    if not token or len(token) > _MAX_TOKEN or any(not "!" <= mark <= "~" for mark in token):
        raise LaunchError("the file holds no token of one line", where=str(path))
    return token


def _write(file: RenderedFile, text: str) -> None:
    file.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{file.path.name}-", dir=file.path.parent)
    unnamed = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(descriptor, file.mode)
            stream.write(text)
        unnamed.rename(file.path)
    finally:
        unnamed.unlink(missing_ok=True)
