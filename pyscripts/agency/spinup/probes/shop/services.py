"""Probe of the services' units: which of them this machine has at all."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from pydantic import Field, StringConstraints

from agency.spinup.probes.probe import Here, Nothing, probe
from agency.spinup.probes.shop.frame import show
from agency.spinup.record import Evidence

UnitName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9@_.:-]{1,200}$")]


class Units(Nothing):
    """Units by their full names."""

    units: list[UnitName] = Field(min_length=1, max_length=64)


@probe("shop.units", Units)
async def present(here: Here, told: Units) -> Evidence:
    """Read the states of services' units; one that is not there says so."""
    seen = await show(told.units)
    states = [{"load": unit.load, "active": unit.active, "sub": unit.sub} for unit in seen]
    return {
        "instance": asdict(here.identity),
        "units": dict(zip(told.units, states, strict=True)),
    }
