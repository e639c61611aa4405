"""The project's wheel: built from a source tree, and installed where nothing of a checkout is."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

TIMEOUT_S = 120


def run(*argv: str, cwd: Path) -> str:
    """Run a program without the network and without this checkout on Python's path."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        argv, cwd=cwd, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, place: Path) -> Path:
    """The wheel of a source tree, which gets build files; made below `place`."""
    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    pip = (sys.executable, "-m", "pip")
    run(*pip, "wheel", "--quiet", *offline, "--wheel-dir", "wheels", str(source), cwd=place)
    (wheel,) = (place / "wheels").glob("agency-*.whl")
    return wheel


def build_by(hook: str, source: Path, place: Path) -> None:
    """Have the build back end make something else of a source tree, such as `build_editable`."""
    program = f"import setuptools.build_meta as back_end, sys; back_end.{hook}(sys.argv[1])"
    run(sys.executable, "-c", program, str(place), cwd=source)


def install(wheel: Path, place: Path) -> Path:
    """The Python of a new virtual environment that has the wheel, and our libraries beside it."""
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=place)
    python = place / "venv/bin/python"
    pip = (sys.executable, "-m", "pip", "--python", str(python))
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel), cwd=place)
    # A directory that a .pth file names is searched, and its own .pth files are not read: our
    # libraries are found there, and the checkout that an editable install points to is not.
    (packages,) = (place / "venv/lib").glob("python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python
