"""The project's wheel: built from a source tree, and installed away from any checkout."""

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
    """Build the wheel of a source tree below `place`; the build leaves files in the tree."""
    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    pip = (sys.executable, "-m", "pip")
    run(*pip, "wheel", "--quiet", *offline, "--wheel-dir", "wheels", str(source), cwd=place)
    (wheel,) = (place / "wheels").glob("agency-*.whl")
    return wheel


def build_by(hook: str, source: Path, place: Path) -> None:
    """Call another hook of the build back end, such as `build_editable`, on a source tree."""
    program = f"import setuptools.build_meta as back_end, sys; back_end.{hook}(sys.argv[1])"
    run(sys.executable, "-c", program, str(place), cwd=source)


def install(wheel: Path, place: Path) -> Path:
    """Install the wheel in a new virtual environment, beside our libraries; return its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=place)
    python = place / "venv/bin/python"
    pip = (sys.executable, "-m", "pip", "--python", str(python))
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel), cwd=place)
    # Python searches a directory that a .pth file names, but ignores that directory's own .pth
    # files: it finds our libraries, and not the checkout that an editable install points to.
    (packages,) = (place / "venv/lib").glob("python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python
