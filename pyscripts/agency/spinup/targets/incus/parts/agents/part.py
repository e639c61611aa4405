"""See the package: the part itself, which gives the task and takes the probe."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from agency.instance import Instance, model_key
from agency.secrets import Generator, SecretValue, generate
from agency.spinup.probes.working import PROBE
from agency.spinup.targets.incus.parts import Part, Shop
from agency.spinup.targets.incus.parts.agents import scripted
from agency.spinup.targets.incus.parts.agents.task import Trial

PORT = 8099  # of no service, also where recipe CI runs beside it
_ROLE = "developer"
_MODELS: Mapping[str, Any] = {
    "providers": {scripted.MODEL: {"kind": "openai", "url": f"http://127.0.0.1:{PORT}"}},
    "offered": {
        scripted.MODEL: {"provider": scripted.MODEL, "price": {"input": 1.0, "output": 2.0}}
    },
}
_PROGRAM: Mapping[str, Any] = {
    "model": scripted.MODEL,
    "budget": {"tokensPerDay": 1_000_000, "usdPerDay": 10},
}


@dataclass(slots=True)
class AgentsPart(Part):
    """See Part."""

    name: ClassVar[str] = "agents"
    unpacked: ClassVar[tuple[str, ...]] = ("git",)  # without what it takes to fetch
    exported: ClassVar[bool] = True
    key: SecretValue = field(default_factory=lambda: generate(Generator.TOKEN), repr=False)

    def adapt(self, document: MutableMapping[str, Any]) -> None:
        """See Part: one developer has a program, and its model is scripted; nobody else has one."""
        agents = document.setdefault("agents", {})
        for each in agents.values():
            each.pop("program", None)
        worker = next((n for n in sorted(agents) if agents[n].get("role") == _ROLE), _ROLE)
        agents[worker] = {**agents.get(worker, {"role": _ROLE}), "program": dict(_PROGRAM)}
        document["models"] = dict(_MODELS)

    def secrets(self, instance: Instance) -> Mapping[str, SecretValue]:  # noqa: ARG002
        """See Part: the key of the provider, which is new for each run."""
        return {model_key(scripted.MODEL): self.key}

    async def at(self, step: str, shop: Shop) -> None:
        """See Part: the agents of the conversation have ended, and one of them begins anew."""
        if step == "records":
            await shop.run.probe(PROBE, lambda: Trial(shop, worker_of(shop.instance), PORT).hold())


def worker_of(instance: Instance) -> str:
    """Name the agent that has a program."""
    return next(name for name, agent in sorted(instance.agents.items()) if agent.program)
