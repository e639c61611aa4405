"""Stage for a command-line agent: a network namespace where every packet is seen.

    this program ─▶ namespace with loopback alone ─┬─ metering proxy, and a scripted model behind it
    play (stdin)                                   ├─ tool gateway (front, dispatcher)
    what was seen (stdout) ◀───────────────────────┼─ name server: all addresses lead here, so that
                                                   │  a connection to anything else is seen as well
                                                   └─ the agent's real program

The play is the fields of `Play` in the test, and agent, program and place.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SUPPORT = Path(__file__).resolve().parent
sys.path.insert(0, str(SUPPORT))

from gateway_desk import Desk, FakeTools, policy, tool  # noqa: E402 - after the path
from proxied import PROVIDER_KEY, TOKENS, proxied  # noqa: E402
from scripted_model import ToolCall, Turn, scripted  # noqa: E402

from agency import quarantine  # noqa: E402
from agency.agent.gateway.calls.results import Block, Raw  # noqa: E402
from agency.agent.gateway.front import serve_front  # noqa: E402
from agency.agent.programs.command.launching import OwnTools, Settings  # noqa: E402
from agency.agent.programs.command.registry import AGENTS, launch_of  # noqa: E402
from agency.agent.programs.command.writing import (  # noqa: E402
    check_directory,
    environment_of,
    write_files,
)

TIME_S = 100
MODEL_TOKEN, GATEWAY_TOKEN = TOKENS["pm"], "token-for-tools-in-tests"
NOTE = "the note says forty-two"
# The second tool is denied, so no agent may be offered it.
RULES = {"look": ("web/look", "allow"), "erase": ("web/erase", "deny")}


def lead_all_here() -> None:
    """Make every address one of this namespace: `ip route add local default dev lo`."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.bind((0, 0))
        for family in (socket.AF_INET, socket.AF_INET6):
            # family, lengths, tos, table local, protocol boot, scope host, type local, flags
            route = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 255, 3, 254, 2, 0)
            body = route + struct.pack("=HHI", 8, 4, socket.if_nametoindex("lo"))
            netlink.send(struct.pack("=IHHII", 16 + len(body), 24, 0x605, 1, 0) + body)
            number = struct.unpack_from("=i", netlink.recv(4096), 16)[0]
            if number and family == socket.AF_INET:
                raise OSError(-number, os.strerror(-number))


class Watch(threading.Thread):
    """Every destination that a packet had: of TCP each attempt to connect, of UDP each packet."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[str] = set()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._socket.bind(("lo", 0))

    def run(self) -> None:
        while True:
            packet = self._socket.recv(65536)
            version, at = packet[14] >> 4, 14 + (packet[14] & 15) * 4
            if version == 4:
                protocol, host = packet[23], socket.inet_ntop(socket.AF_INET, packet[30:34])
            elif version == 6:
                protocol, host = packet[20], socket.inet_ntop(socket.AF_INET6, packet[38:54])
                at = 54
            else:
                continue
            port = struct.unpack_from(">H", packet, at + 2)[0] if len(packet) >= at + 4 else 0
            if protocol == socket.IPPROTO_TCP and packet[at + 13] & 0x12 == 0x02:
                self.seen.add(f"tcp {host} {port}")
            elif protocol == socket.IPPROTO_UDP:
                self.seen.add(f"udp {host} {port}")


class Names(asyncio.DatagramProtocol):
    """Name server that knows no name, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        at, parts = 12, []
        while data[at]:
            parts.append(data[at + 1 : at + 1 + data[at]].decode())
            at += data[at] + 1
        self.asked.add(".".join(parts))
        head = data[:2] + b"\x81\x83" + data[4:6] + bytes(6)
        self._transport.sendto(head + data[12 : at + 5], addr)


@asynccontextmanager
async def gateway_of(place: Path) -> AsyncIterator[tuple[str, Desk]]:
    """Serve the real front of a gateway on a free port; its tools answer with a note."""
    tools = FakeTools({name: tool(name) for name in ("web/look", "web/erase")})
    tools.answer = lambda: Raw((Block("text", NOTE),), None, failed=False)
    desk = Desk(place, tools)
    desk.dispatcher.set_policy(policy(RULES))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with serve_front(desk.dispatcher, GATEWAY_TOKEN, listening):
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", desk


def turn_of(told: dict[str, Any]) -> Turn:
    calls = tuple(
        ToolCall(f"call-{number}", name, json.dumps(arguments))
        for number, (name, arguments) in enumerate(told.get("calls", ()), 1)
    )
    return Turn(text=told.get("text", ""), calls=calls)


async def play(told: dict[str, Any], watch: Watch) -> dict[str, Any]:
    names, place = Names(), Path(told["place"])
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: names, local_addr=("0.0.0.0", 53))
    async with (
        scripted(*map(turn_of, told["turns"])) as model,
        proxied(model.url, place) as proxy,
        gateway_of(place) as (gateway, desk),
    ):
        said = await start(told, proxy.url, gateway)
        return {
            **said,
            "asked": [asked.body for asked in model.asked],
            "by_proxy": all(
                asked.headers.get("Authorization") == f"Bearer {PROVIDER_KEY}"
                for asked in model.asked
            ),
            "metered": [record.outcome for record in proxy.records],
            "called": desk.tools.made,
            "decided": [detail["decision"] for _, detail in desk.log.rows if "decision" in detail],
            "names": sorted(names.asked),
            "reached": sorted(watch.seen),
            "known": [
                f"tcp 127.0.0.1 {urlsplit(url).port}" for url in (model.url, proxy.url, gateway)
            ],
        }


async def start(told: dict[str, Any], model: str, gateway: str) -> dict[str, Any]:
    """Write the launch, run the agent with its task, and return how it ended."""
    place = Path(told["place"])
    settings = Settings(
        model_url=f"{model}/v1",
        model="small",
        model_token=place / "model-token",
        gateway_url=gateway,
        gateway_token=place / "gateway-token",
        own_tools=OwnTools(told["own"]),
        workspace=place / "workspace",
        state=place / "state",
    )
    settings.model_token.write_text(MODEL_TOKEN + "\n")
    settings.gateway_token.write_text(GATEWAY_TOKEN + "\n")
    for name, text in {".keep": "", **told["workspace"]}.items():
        path = settings.workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    launch = launch_of(told["agent"], settings)
    check_directory(AGENTS[told["agent"]], launch)
    write_files(launch)
    environment = environment_of(launch, settings, os.environ)
    for name in told["without"]:
        del environment[name]
    argv = (*told["program"], *launch.argv)
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=launch.directory,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIME_S):
            output, errors = await process.communicate(b"Look forty-two up.")
    except TimeoutError:
        process.kill()
        output, errors = await process.communicate()
    return {
        "status": process.returncode,
        "output": output.decode(errors="replace"),
        "errors": errors.decode(errors="replace"),
        "argv": argv,
        "files": [
            {
                "text": file.path.read_text(),
                "mode": file.path.stat().st_mode & 0o777,
                "holds": file.token is not None,
            }
            for file in launch.files
        ],
        "left": sorted(
            str(path.relative_to(settings.workspace))
            for path in settings.workspace.rglob("*")
            if path.is_file()
        ),
    }


def main() -> None:
    entered = quarantine.enter()
    if entered.mode != "network-namespace":
        sys.exit(f"no namespace: {entered.reason}")
    lead_all_here()
    watch = Watch()
    watch.start()
    sys.stdout.write(json.dumps(asyncio.run(play(json.load(sys.stdin), watch))))


if __name__ == "__main__":
    main()
