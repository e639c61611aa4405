"""An agent that works in containers of a real engine, seen as its parts lie there."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_containers import PYTHON, AgentsEngine
from gatewaying import SCRIPT

from agency.control.runtimes.docker.settings import DockerSettings
from agency.protocols import GatewayStatus
from working import Agency

TOOLS, STATE = "/opt/tools/tool_server.py", "/var/lib/agency"
OWN = f"{STATE}/gateway/servers/web"  # what the tool server may write, beside /tmp
ASK = """
import asyncio, pathlib
from agency.errors import AgencyError
from agency.protocols import GatewayClient

async def ask():
    token = pathlib.Path("/run/agency/gateway-control-token").read_text()
    client = GatewayClient(pathlib.Path("/run/agency-control/control.sock"), token)
    try: print((await client.status()).model_dump_json())
    except AgencyError: print("null")
    finally: await client.close()

asyncio.run(ask())
"""


HOLDS = """
import json, os

def written(name):
    try: open(f"/run/{name}/x", "w").close(); os.unlink(f"/run/{name}/x")
    except OSError: return False
    return True

run = sorted(os.listdir("/run"))
places = [each for each in run if os.path.isdir("/run/" + each)]
print(json.dumps({
    "handed": sorted(os.listdir("/run/agency")), "run": run,
    "net": os.listdir("/sys/class/net"), "written": [each for each in places if written(each)],
}))
"""


def with_tools(engine: AgentsEngine) -> DockerSettings:
    """Settings with an image that has the tool server, as an operator would add one."""
    place = engine.engine.place / "tools"
    place.mkdir(mode=0o755)
    shutil.copy(SCRIPT, place)
    made = engine.cli("create", engine.image)
    engine.cli("cp", str(place), f"{made}:/opt/tools")
    image_id = engine.cli("commit", made, "with-tools:1")
    engine.cli("rm", made)
    return engine.settings(image="with-tools:1", image_id=image_id, memory_mib=256)


@dataclass
class ContainedAgency(Agency):
    """The same agency, with its agent in containers."""

    engine: AgentsEngine | None = None

    @property
    def _engine(self) -> AgentsEngine:
        assert self.engine is not None
        return self.engine

    @property
    def handed(self) -> Path:
        """Directory of what the containers are handed."""
        return Path(self.control.config["state_dir"]) / "containers"

    def server(self) -> dict[str, Any]:
        return {"command": [PYTHON, TOOLS, "good", OWN]}

    def container(self, part: str) -> str:
        """The running container of a part, empty if there is none."""
        return self._engine.cli("ps", "-q", "--filter", f"name=-pm{part}$")

    def holds(self, part: str) -> dict[str, Any]:
        """What is handed to a container, what it sees below /run, and what of that it can write."""
        status, said = self._engine.inside(self.container(part), HOLDS)
        assert status == 0, said
        return dict(json.loads(said))

    def plant(self, name: str, text: str) -> Path:
        code = f"open('{OWN}/{name}', 'w').write('{text}')"
        status, said = self._engine.inside(self.container(".gateway"), code)
        assert status == 0, said
        return Path(OWN) / name

    def called(self) -> list[Any]:
        path = f"{OWN}/calls"
        code = f"import os; print(open('{path}').read() if os.path.exists('{path}') else '')"
        status, said = self._engine.inside(self.container(".gateway"), code)
        assert status == 0, said
        return [json.loads(line) for line in said.splitlines()]

    def listening(self) -> bool:
        made = self.container(".rooms")
        return bool(made) and '"listening"' in self._log(made) and self.joined()

    async def _gateway(self) -> GatewayStatus | None:
        made = self.container(".gateway")
        status, said = self._engine.inside(made, ASK) if made else (1, "")
        return None if status or said == "null" else GatewayStatus.model_validate_json(said)

    def pids(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for made in self._engine.cli("ps", "-q").split():
            told, _ = self._engine.both("container", "inspect", made)
            for shown in json.loads(told or "[]"):  # one that was removed meanwhile is not there
                found |= _processes(shown)
        return found

    def token_files(self) -> list[Path]:
        return [*self.handed.glob("*/*-token")]

    def token(self, name: str) -> str:
        return (self.handed / "pm.rooms" / name).read_text()

    @property
    def named_in_argv(self) -> str:
        return "/run/agency/"

    def _log(self, made: str) -> str:
        return "".join(self._engine.both("logs", made))

    def logs(self) -> str:
        told = [super().logs()]
        for made in self._engine.cli("ps", "-aq").split():
            shown = ("inspect", "--format", "{{.Name}} {{.State.Status}}", made)
            name = self._engine.both(*shown)[0].strip()
            told.append(f"== {name}\n{self._log(made)[-3000:]}")
        return "\n".join(told)


def _processes(shown: dict[str, Any]) -> dict[str, int]:
    """The agent's process in a container, below the init, by what it runs."""
    first, verb = shown["State"]["Pid"], shown["Config"]["Entrypoint"][-1]
    try:
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    except OSError:  # it ended meanwhile
        return {}
    return {verb: int(children[0])} if children else {}
