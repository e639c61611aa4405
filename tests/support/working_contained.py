"""An agent that works in containers of a real engine, seen as its parts lie there."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_containers import PYTHON, AgentsEngine
from background import in_background
from gatewaying import SCRIPT
from scripted_model import scripted
from vault_places import CANARY, by_stdin

from agency import naming
from agency.control.runtimes.docker.settings import DockerSettings
from agency.naming import container_uid
from agency.protocols import GatewayStatus
from working import ALICE, BOB, ECHO, SLOT, Agency, audit_log, proxy_process

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


# What a shell calls; the image of `make agent-image` has no shell.
APPLETS = ("sh", "cat", "find", "id", "ls", "mkdir", "setsid", "sleep", "tail", "touch", "tr")


def with_tools(
    engine: AgentsEngine, *, shell: bool = False, memory_mib: int = 256
) -> DockerSettings:
    """Settings with an image that has the tool server, as an operator would add one; or a shell."""
    place = engine.engine.place / "tools"
    place.mkdir(mode=0o755, exist_ok=True)
    shutil.copy(SCRIPT, place)
    made = engine.cli("create", engine.image)
    engine.cli("cp", str(place), f"{made}:/opt/tools")
    if shell:
        programs = place.parent / "bin"
        programs.mkdir(mode=0o755, exist_ok=True)
        shutil.copy(str(shutil.which("busybox")), programs)
        for name in APPLETS:
            (programs / name).unlink(missing_ok=True)
            (programs / name).symlink_to("busybox")
        engine.cli("cp", f"{programs}/.", f"{made}:/bin")
    image_id = engine.cli("commit", made, "with-tools:1")
    engine.cli("rm", made)
    return engine.settings(image="with-tools:1", image_id=image_id, memory_mib=memory_mib)


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
        return self._engine.cli("ps", "-q", "--filter", f"name=-{self.runs_as}{part}$")

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

    def kept(self) -> list[str]:
        volumes = self._engine.cli("volume", "ls", "-q").split()
        return [each for each in volumes if f"-{self.runs_as}" in each]

    def token(self, name: str) -> str:
        return (self.handed / f"{self.runs_as}.rooms" / name).read_text()

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


@contextmanager
def working_agency(
    homeserver: Any,
    make_control: Callable[..., Any],
    engine: AgentsEngine | None,
    program: dict[str, Any],
    *,
    slot: bool = False,
) -> Iterator[Agency]:
    """Run an agency whose agent pm works, with one tool; in containers, where there is an engine.

    `program` are its settings beside the model's name. With `slot` a command makes the agent, whose
    name is helper, and it has the program of a slot.
    """
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="work-")))
        model = stack.enter_context(in_background(scripted()))
        audit = stack.enter_context(
            in_background(audit_log(place, container_uid(SLOT if slot else "pm")))
        )
        control = make_control(
            homeserver.credentials,
            homeserver_url=homeserver.url,
            listen_port=homeserver.appservice_port,
            operators=[ALICE, BOB],
            limits={"reconcile_interval_s": 0, "secret_check_s": 0.3},
        )
        state_dir = Path(control.config["state_dir"])
        url = stack.enter_context(proxy_process(place, state_dir, model.url))
        tokens = str(state_dir / "model-tokens")
        control.config["models"] = {"url": url, "tokens": tokens, "audit_socket": str(audit)}
        works = {
            "program": {"model": "small", **program},
            "runtime": "process" if engine is None else "docker",
        }
        if slot:
            spare = {"name": SLOT, "role": "spare", "matrix_id": f"@{SLOT}:agency.example"}
            control.config["agents"].append(
                {**spare, "port": naming.agent_port(SLOT), "spare": True, **works}
            )
        else:
            next(each for each in control.config["agents"] if each["name"] == "pm").update(works)
        made = Agency(homeserver, control, model, place)
        if engine is not None:
            stack.callback(engine.sweep)
            made = ContainedAgency(homeserver, control, model, place, engine=engine)
            shell = program.get("own_tools") == "confined"
            memory = 1024 if program else 256  # opencode takes 450 MB
            settings = with_tools(engine, shell=shell, memory_mib=memory)
            control.config["docker"] = settings.model_dump()
        if slot:
            made.name, made.runs_as = "helper", SLOT
        made.set_up({name: homeserver.create_user(name) for name in ("alice", "bob")})
        if slot:
            told = made.order("!agency agents create helper --template=developer")
            assert told.startswith("helper is made"), told
        by_stdin(control, "secrets", "set", "weather", value=f"{CANARY}-1")
        assert "weather" in made.order(f"!agency secrets bind weather {made.name}")
        made.keys = {"API_KEY": "weather"}
        made.give(ECHO)
        made.start()
        yield made
        control.stop()
