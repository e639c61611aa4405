"""Putting the target `local` together for a run."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from agency.spinup.record import Recorder
from agency.spinup.target import Setting
from agency.spinup.targets.local.agency import LocalAgency, usual_ports
from agency.spinup.targets.local.build import build, check_port_names
from agency.spinup.targets.local.supervisor import Supervisor
from agency.spinup.targets.local.target import LocalTarget


@contextlib.asynccontextmanager
async def open_local(setting: Setting, recorder: Recorder) -> AsyncIterator[LocalTarget]:
    """The target, not yet begun.

    Raises:
        UsageError: a port was pinned of something that the instance does not have.
    """
    loaded, directory, options = setting.loaded, setting.directory, setting.options
    check_port_names(loaded, options.ports)
    usual = usual_ports(loaded.instance) if setting.network.mode != "none" else {}
    supervisor = Supervisor(marker=directory.run)

    def prepare() -> LocalAgency:
        wanted = {**usual, **options.ports}
        return build(loaded, directory, setting.secrets, setting.session, supervisor, wanted)

    yield LocalTarget(
        recorder=recorder,
        network=setting.network,
        prepare=prepare,
        run=directory,
        secrets=setting.secrets,
        supervisor=supervisor,
    )
