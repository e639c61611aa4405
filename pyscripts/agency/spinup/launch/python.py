"""Python environment of one run: the copies on its path, and nothing that lies elsewhere."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

# A line that begins with `import` is executed: what runs writes nothing beside what was copied.
_FIRST = "import sys; sys.dont_write_bytecode = True"


def make_python(place: Path, paths: Sequence[Path]) -> Path:
    """Make a virtual environment that imports from these directories; return its interpreter.

    The directories come by a .pth file, so that .pth files in them are not read. Whatever this
    interpreter starts by `sys.executable` runs in the same environment.
    """
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    names = {"base": str(place), "platbase": str(place)}
    site = Path(sysconfig.get_path("purelib", "venv", names))
    site.mkdir(parents=True)
    lines = (_FIRST, *map(str, paths))
    (site / "copied.pth").write_text("\n".join(lines) + "\n")
    config = f"home = {base.parent}\ninclude-system-site-packages = false\n"
    (place / "pyvenv.cfg").write_text(config)
    interpreter = place / "bin" / "python"
    interpreter.parent.mkdir(parents=True, exist_ok=True)
    interpreter.symlink_to(base)
    return interpreter
