"""Running a long program that makes something: its log is kept, its end is explained.

The program runs in a process namespace of its own, so that none of what it starts outlives it,
and in a mount namespace where it is root, so that its mounts go with it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agency.children import Child, ChildSpec, start_child
from agency.errors import AgencyError, LoggedError
from agency.guests.images.cache import no_room
from agency.programs import find_program

_LOG_LINES = 30
_LOG_BYTES = 32 * 1024
_STOP_S = 5.0
_NO_ROOM = ("No space left on device", "Disk quota exceeded")

# What a person sets to reach package registries; nothing else of the environment is handed on.
_PASSED_ON = (
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HOME"),
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_CONFIG_FILE", "PIP_PROXY"),
    *("PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES"),
    *("NPM_CONFIG_REGISTRY", "npm_config_registry", "NODE_EXTRA_CA_CERTS"),
)


class BuildError(LoggedError):
    """Failure of a program that makes a part of the guest; the log is the end of what it said."""


@dataclass(frozen=True, slots=True)
class Job:
    """A program to run in `directory`, where it also logs; `marker` names the run."""

    name: str
    argv: Sequence[str]
    directory: Path
    log: Path
    timeout_s: float
    marker: str
    hint: str
    isolated: bool = False  # in namespaces of its own; for that it must be root


def outer_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Pick from this environment what a builder gets."""
    return {name: environ[name] for name in _PASSED_ON if name in environ}


async def run_job(job: Job, *, env: Mapping[str, str]) -> None:
    """Run a job to its end; when this is cancelled, the program is ended.

    Raises:
        BuildError: it failed or did not end in time.
        PrerequisiteError: it is not installed, or the disk is full.
    """
    argv = [*(_ISOLATED if job.isolated else ()), find_program(job.argv[0], hint=job.hint)]
    spec = ChildSpec(job.name, (*argv, *job.argv[1:]), env, job.directory, job.log)
    child = await start_child(spec, marker=job.marker)
    try:
        async with asyncio.timeout(job.timeout_s):
            status = await child.wait()
    except TimeoutError as error:
        await child.stop(_STOP_S)
        raise _failure(job, f"did not end within {job.timeout_s:g} s", child) from error
    finally:
        await child.stop(_STOP_S)
    if status != 0:
        raise _failure(job, f"ended with status {status}", child)


# --kill-child: when unshare is killed, so is the first process of the namespace, and with it all.
_ISOLATED = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def _failure(job: Job, what: str, child: Child) -> AgencyError:
    tail = child.log_tail(_LOG_LINES, _LOG_BYTES)
    full = next((line for line in tail if any(sign in line for sign in _NO_ROOM)), None)
    if full is not None:
        return no_room(job.directory, full.strip())
    return BuildError(what, where=job.name, hint=job.hint, log_tail=tail)
