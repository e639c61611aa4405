"""The program `agency recipes runner` with runs that a stand-in plays.

recipe_runner.py CONFIG [TEARDOWN_SECONDS [SPEED]]; SPEED is that of the clock for time limits.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from agency.clock import Clock
from agency.commandline import log_to_stderr
from agency.recipes.configuration import read_config
from agency.recipes.engine import serving

STAND_IN = Path(__file__).with_name("recipe_stand_in.py")


def main() -> None:
    """Serve as the command does."""
    config = read_config(Path(sys.argv[1]))
    if len(sys.argv) > 2:  # seconds that a teardown may take
        serving.TEARDOWN_S = float(sys.argv[2])

    def command(run: str) -> tuple[str, ...]:
        return (sys.executable, str(STAND_IN), str(config.state), run)

    speed = float(sys.argv[3]) if len(sys.argv) > 3 else 1.0
    log_to_stderr()
    clock = Clock(steady=lambda: time.monotonic() * speed)
    asyncio.run(serving.serve(config, command, None, clock))


if __name__ == "__main__":
    main()
