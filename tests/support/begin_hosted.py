"""Begin an agent of a host with its program, as the control plane does: `begin_hosted.py FACTS`.

It runs in a guest, as root. FACTS is JSON: `agent`, `role`, `port`, `program` and `models`; with
`gosuto`, a file, the agent is given that document. Accounts of a homeserver are simulated.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from agency import naming
from agency.control.acp_client import AcpClient
from agency.control.runtimes.base import StartRequest
from agency.control.runtimes.beside.crew import Hired
from agency.control.runtimes.beside.hosted import Hosted
from agency.control.runtimes.beside.settings import ModelSettings, ProgramSettings
from agency.control.runtimes.systemd import SystemdRuntime
from agency.secrets import SecretValue


class Accounts:
    async def log_in(self, agent: str) -> SecretValue:
        return SecretValue("token-of-the-account")

    async def counts(self, token: SecretValue) -> bool:
        return True

    async def log_out(self, token: SecretValue) -> None:
        pass


async def begin(facts: dict[str, Any], gosuto: bytes | None) -> None:
    agent = facts["agent"]
    user = f"@{naming.agent_user(agent)}:x"
    program = ProgramSettings.model_validate_json(json.dumps(facts["program"]))
    models = ModelSettings.model_validate_json(json.dumps(facts["models"]))
    models.tokens.mkdir(mode=0o700, exist_ok=True)
    hired = Hired("http://127.0.0.1:8008", models, Accounts())
    runtime = SystemdRuntime(
        Path("/run/agency-control/agents"),
        port_of=lambda _: int(facts["port"]),
        hosted=lambda name, place: Hosted(name, user, program, hired, place),
    )
    seen = await runtime.start(StartRequest(agent, facts["role"], None, "trace-own"))
    sys.stdout.write(f"{seen.state}\n")
    if gosuto is not None:
        await give(runtime, agent, gosuto)
    await runtime.close()


async def give(runtime: SystemdRuntime, agent: str, gosuto: bytes) -> None:
    async def lives() -> bool:
        return True

    endpoint = runtime.endpoint(agent)
    assert endpoint is not None
    async with AcpClient() as acp:
        await acp.wait_healthy(endpoint, "trace-own", 30, lives)
        await acp.apply(endpoint, "trace-own", gosuto)


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    asyncio.run(begin(told, Path(told["gosuto"]).read_bytes() if "gosuto" in told else None))
