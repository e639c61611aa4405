"""Handing in of a branch: fetched into a bare repository of our own, pushed from there.

checkout ── fetch, without a token ─▶ bare, temporary ── push, with the token ─▶ forge

Settings of the checkout are the agent's to change (`url.*.insteadOf`, helpers, proxies), so no git
that holds the token reads them.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from agency.errors import UsageError
from agency.programs import Bounds, ProgramError, find_program, run_to_end
from agency.secrets import Redactor, SecretValue

_TIME_S = 100.0  # less than the gateway waits for a call
_BOUNDS = Bounds(file_bytes=1024**3)


def check_branch(branch: str, prefix: str) -> str:
    """Return a branch that may be handed in: one below the agent's own prefix.

    Raises:
        UsageError: it is another one, or no name of a branch.
    """
    if not branch.startswith(prefix) or not re.fullmatch(
        r"[a-z0-9]([a-z0-9-]{0,58}[a-z0-9])?", branch.removeprefix(prefix)
    ):
        raise UsageError(f"only branches below {prefix} are handed in", where=branch[:80])
    return branch


def push(checkout: Path, branch: str, url: str, user: str, token: SecretValue) -> str:
    """Push one branch, never by force; return its commit.

    Raises:
        ProgramError: there is no such branch, or the forge refuses it.
    """
    git = find_program("git", hint="install git")
    ref = f"refs/heads/{branch}"
    with tempfile.TemporaryDirectory(prefix="hand-in-") as name:
        place = Path(name)
        bare, helper = place / "bare", place / "credentials"
        env = _env(place, {})
        _git(git, place, env, "init", "--quiet", "--bare", str(bare))
        _git(
            git, bare, env, "fetch", "--quiet", "--no-tags", str(checkout.resolve()), f"{ref}:{ref}"
        )
        parts = urlsplit(url)
        login = f"{quote(user, safe='')}:{quote(token.reveal(), safe='')}"
        helper.touch(mode=0o600)
        helper.write_text(f"{parts.scheme}://{login}@{parts.netloc}\n")
        settings = {"credential.helper": f"store --file={helper}", "http.followRedirects": "false"}
        env = _env(place, settings)
        _git(git, bare, env, "push", "--quiet", "--no-verify", url, f"{ref}:{ref}", hide=token)
        return _git(git, bare, env, "rev-parse", ref)


def _env(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    every = {"core.hooksPath": os.devnull, "protocol.ext.allow": "never", **settings}
    env = {
        "HOME": str(home),
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(every)),
    }
    for number, (key, value) in enumerate(every.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return env


def _git(
    git: str, place: Path, env: Mapping[str, str], *argv: str, hide: SecretValue | None = None
) -> str:
    done = run_to_end([git, *argv], cwd=place, env=env, timeout=_TIME_S, bounds=_BOUNDS)
    if done.status != 0:
        reason = Redactor([] if hide is None else [hide]).redact(done.reason)
        raise ProgramError(f"git {argv[0]} failed: {reason}")
    return done.stdout.decode(errors="replace").strip()
