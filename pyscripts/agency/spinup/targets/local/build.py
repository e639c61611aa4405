"""Putting a local agency together from an instance: its secrets, its ports, its supervisor."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from agency import ports as loopback
from agency.errors import UsageError
from agency.instance.load import LoadedInstance
from agency.rundir import RunDirectory
from agency.secrets.providers import SecretProvider
from agency.spinup.targets.local.agency import LocalAgency, port_names
from agency.spinup.targets.local.supervisor import Supervisor


def check_port_names(loaded: LoadedInstance, pinned: Mapping[str, int]) -> None:
    """Refuse to pin the port of something that this instance does not have.

    Raises:
        UsageError: an unknown name.
    """
    known = port_names(loaded.instance)
    for name in pinned:
        if name not in known:
            raise UsageError(
                f"nothing named {name!r} needs a port", hint=f"use one of: {', '.join(known)}"
            )


def build(
    loaded: LoadedInstance,
    run: RunDirectory,
    secrets: SecretProvider,
    session: aiohttp.ClientSession,
    supervisor: Supervisor,
    wanted_ports: Mapping[str, int],
) -> LocalAgency:
    """A local agency that has been planned and not started.

    Raises:
        PrerequisiteError: a wanted port is taken.
    """
    return LocalAgency(
        instance=loaded.instance,
        run=run,
        secrets=secrets,
        ports=loopback.assign(port_names(loaded.instance), wanted_ports),
        session=session,
        supervisor=supervisor,
    )
