"""A control plane that kills itself at one moment of a change that a person asked for.

python killing.py MOMENT control run --config FILE
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from typing import Any, NoReturn

from agency.control.matrix.sending import Sender
from agency.control.operations import OriginKind
from agency.control.operations.running.recorder import Recorder
from agency.control.operations.running.settlement import Settlement
from agency.control.runtimes.process import ProcessRuntime

_begin, _settle = Recorder.begin, Recorder.settle
_stop, _restart = ProcessRuntime.stop, ProcessRuntime.restart
_remove = ProcessRuntime.remove
_send = Sender._send


def kill() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


async def begin(recorder: Recorder, operation: Any, *more: Any, **options: Any) -> Any:
    begun = await _begin(recorder, operation, *more, **options)
    return begun if operation.origin.kind is OriginKind.RECONCILE else kill()


async def halt(_runtime: ProcessRuntime, agent: Any) -> None:
    """Tell the agent to end, and do not wait for it."""
    if agent.child is not None:
        os.kill(agent.child.pid, signal.SIGTERM)
    kill()


async def stop(runtime: ProcessRuntime, name: str) -> NoReturn:
    await _stop(runtime, name)
    kill()


async def restart(runtime: ProcessRuntime, request: Any) -> NoReturn:
    await _restart(runtime, request)
    kill()


async def remove(runtime: ProcessRuntime, name: str) -> NoReturn:
    await _remove(runtime, name)
    kill()


async def settle(recorder: Recorder, settlement: Settlement) -> None:
    if settlement.flush and settlement.origin.kind is not OriginKind.RECONCILE:
        kill()
    await _settle(recorder, settlement)


async def send(sender: Sender, stored: Any) -> None:
    """Kill at an answer. The card of a slow change goes out, and what was sent and not noted."""
    reply = stored.message.content.get("org.agency.reply", {"card": 0})
    if "card" not in reply and stored.sequence not in sender._doubtful:
        kill()
    await _send(sender, stored)


def main() -> None:
    moment = sys.argv.pop(1)
    if moment == "accepted":
        Recorder.begin = begin
    elif moment == "acting":
        ProcessRuntime._halt = halt
    elif moment == "acted":
        ProcessRuntime.stop, ProcessRuntime.restart = stop, restart
        ProcessRuntime.remove = remove
    elif moment == "uncommitted":
        Recorder.settle = settle
    elif moment == "unsent":
        Sender._send = send
    else:
        sys.exit(f"no such moment: {moment}")
    runpy.run_module("agency", run_name="__main__")


if __name__ == "__main__":
    main()
