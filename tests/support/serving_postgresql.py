"""A PostgreSQL server of a test's own, on a socket in a directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from as_nobody import AS_ROOT, as_nobody

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
_BIN = str(_BINARIES[-1]) if _BINARIES else os.environ.get("PATH", os.defpath)
INITDB, POSTGRES = (shutil.which(name, path=_BIN) for name in ("initdb", "postgres"))


def _is_ready(data: Path) -> bool:
    """Tell whether the server answers: its socket is there before that; postmaster.pid says it."""
    status = data / "postmaster.pid"
    return status.exists() and status.read_text().rstrip().endswith("ready")


@contextmanager
def serving(administrator: str = "postgres") -> Iterator[Path]:
    """Run a server of an administrator; yields the directory of its socket."""
    place = Path(tempfile.mkdtemp(prefix="pg"))
    if AS_ROOT:
        shutil.chown(place, "nobody", "nogroup")
    data = place / "data"
    env = {"PATH": os.environ["PATH"], "HOME": str(place), "LANG": "C.UTF-8"}
    try:
        subprocess.run(
            as_nobody([str(INITDB), "-D", str(data), "-U", administrator, "-A", "trust", "-N"]),
            check=True,
            capture_output=True,
            env=env,
            cwd=place,
        )
        argv = [str(POSTGRES), "-D", str(data), "-k", str(place), "-c", "listen_addresses="]
        process = subprocess.Popen(as_nobody(argv), env=env, cwd=place, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 30
            while not _is_ready(data):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield place
        finally:
            process.terminate()
            process.wait(20)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def sql(socket: Path, database: str, text: str) -> str:
    """Run SQL as the administrator; returns what it says, a row a line."""
    done = subprocess.run(
        [
            *("psql", "-h", str(socket), "-U", "postgres", "-d", database),
            *("-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-"),
        ],
        input=text,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
