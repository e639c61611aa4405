"""Whether a host runs what is here: this instance, by this program.

A transcript names the instance and the source of this side. It must not do so of a host that runs
others.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from agency.control import ControlConfig
from agency.instance import Instance
from agency.machine import Machine, MachineError
from agency.spinup.program import Program
from agency.spinup.record import Evidence
from agency.spinup.remote.asking import Observer

SETTINGS = "/etc/agency/control.json"

_AS_NEW = "is its agency as new as this one? switch it to this source first"
_NAMED = 3


async def settings_of(machine: Machine) -> ControlConfig:
    """What the host's control plane was told.

    Raises:
        MachineError: it was told nothing, or nothing that can be read here.
    """
    done = await machine.look("cat", "--", SETTINGS)
    if done.exit_status != 0:
        raise MachineError(
            f"its control plane has no settings: {SETTINGS} cannot be read", where=machine.name
        )
    try:
        return ControlConfig.model_validate_json(done.stdout)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"])) or "document"
        raise MachineError(
            f"{SETTINGS} cannot be read: {field}: {first['msg']}", where=machine.name, hint=_AS_NEW
        ) from None


async def program_of(observer: Observer) -> Program:
    """The agency's program on the host.

    Raises:
        MachineError: it does not say.
    """
    try:
        return Program.model_validate(await observer.ask("agency.program"))
    except ValidationError:
        raise MachineError(
            "it does not say what it is", where=observer.machine.name, hint=_AS_NEW
        ) from None


def evidence(settings: ControlConfig, program: Program) -> Evidence:
    """Both, as a transcript holds them."""
    return {
        "instance": {
            "name": settings.instance,
            "domain": settings.domain,
            "operators": sorted(settings.operators),
            "agents": [
                {"name": agent.name, "matrixId": agent.matrix_id}
                for agent in sorted(settings.agents, key=lambda agent: agent.name)
            ],
        },
        "program": {
            "version": program.version,
            "files": len(program.files),
            "digest": program.digest,
        },
    }


def require_instance(settings: ControlConfig, instance: Instance, *, where: str) -> None:
    """See that the host runs this instance.

    Raises:
        MachineError: it runs another; every fact that differs is named.
    """
    found = tuple(other_facts(settings, instance))
    if found:
        raise MachineError(
            f"the host runs another instance: {'; '.join(found)}",
            where=where,
            hint="give the instance that the host runs (--instance DIR), or switch it to this one",
        )


def other_facts(settings: ControlConfig, instance: Instance) -> Iterator[str]:
    """What the two say differently: who it is, who commands it, who works in it."""
    agents = {agent.name: (agent.role, agent.matrix_id) for agent in settings.agents}
    resolved = instance.resolved_agents()
    here = {agent.name: (agent.role, agent.matrix_id) for agent in resolved}
    facts: tuple[tuple[str, object, object], ...] = (
        ("name", settings.instance, instance.name),
        ("domain", settings.domain, instance.domain),
        ("operators", sorted(settings.operators), sorted(instance.operators)),
        ("agents", sorted(agents), sorted(here)),
        *(
            (f"agent {name}", _words(agents[name]), _words(here[name]))
            for name in sorted(agents.keys() & here.keys())
        ),
    )
    for name, there, wanted in facts:
        if there != wanted:
            yield f"{name}: there {_said(there)}, here {_said(wanted)}"


def _words(facts: tuple[str, str]) -> str:
    return " ".join(facts)


def _said(value: object) -> str:
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)


def require_program(theirs: Program, ours: Program, *, where: str) -> None:
    """See that the host runs this program.

    Raises:
        MachineError: it runs another; the first few files that differ are named.
    """
    found = tuple(ours.differing(theirs))
    if theirs.version != ours.version or found:
        some = ", ".join(found[:_NAMED]) + (", ..." if len(found) > _NAMED else "")
        raise MachineError(
            f"the host runs another program: version {theirs.version} there, {ours.version} here, "
            f"{len(found)} files differ{': ' if found else ''}{some}",
            where=where,
            hint="check out the source that the host was built from, or switch it to this one",
        )
