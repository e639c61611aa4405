"""A control plane whose agent pm has a tool gateway: no runtime starts one by itself yet.

python with_gateway.py CONTROL-SOCKET FILE-WITH-CONTROL-TOKEN control run --config FILE
"""

from __future__ import annotations

import contextlib
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agency.control.runtimes import handover

_config, _offered = handover.agent_config, handover.Handed.offered


def main(socket: str, token_file: Path) -> None:
    def agent_config(request: Any, *more: Any) -> bytes:
        made = _config(request, *more)
        if request.name != "pm":
            return made
        return json.dumps({**json.loads(made), "gateway_socket": socket}).encode()

    @contextlib.contextmanager
    def offered(handed: handover.Handed, request: Any, *more: Any) -> Iterator[None]:
        with _offered(handed, request, *more):
            file = handed.token.parent / "gateway-control-token"
            file.write_bytes(token_file.read_bytes())
            file.chmod(0o600)
            yield

    handover.agent_config = agent_config
    handover.Handed.offered = offered  # type: ignore[method-assign]
    sys.argv[:] = ["agency", *sys.argv[3:]]
    runpy.run_module("agency", run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
