"""Console script `spinup_smoke` of a checkout, which runs nothing that lies beside the source.

pip's own script starts Python with what the environment holds: .pth files run, and bytecode and
packages that lie in the checkout are taken before any line of the program. Standard library only.
"""

from __future__ import annotations

from pathlib import Path

NAME = "spinup_smoke"
_TEXT = """\
#!{python} -ISB
# Made by tools/setup.py. -I: no variables, no directory of the script. -S: no .pth files.
# Modules of the program are compiled from their sources; of a module and a package of one name
# neither is taken.
import sys
from importlib.abc import SourceLoader
from importlib.util import spec_from_file_location
from pathlib import Path

PACKAGES = Path({packages!r})


class Source(SourceLoader):
    def __init__(self, path):
        self.path = path

    def get_filename(self, name):
        return self.path

    def get_data(self, path):
        if path != self.path:
            raise OSError("bytecode is not read")
        return Path(path).read_bytes()


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] != "agency":
            return None
        place = PACKAGES.joinpath(*name.split("."))
        module, package = place.with_name(place.name + ".py"), place / "__init__.py"
        if module.is_file() and place.is_dir():
            raise ImportError(f"{{module}} and {{place}}/ are both there; remove what is not yours")
        if package.is_file():
            where = [str(place)]
            loader = Source(str(package))
            return spec_from_file_location(
                name, package, loader=loader, submodule_search_locations=where
            )
        if module.is_file():
            return spec_from_file_location(name, module, loader=Source(str(module)))
        return None


sys.meta_path.insert(0, Finder)

from agency.spinup.launch.main import main

main()
"""


def write(venv: Path, root: Path) -> None:
    """Write the script into a virtual environment, in place of pip's."""
    script = venv / "bin" / NAME
    text = _TEXT.format(python=venv / "bin" / "python", packages=str(root / "pyscripts"))
    if not script.is_symlink() and script.exists() and script.read_text() == text:
        return
    unnamed = script.with_name(f".{NAME}")
    unnamed.write_text(text)
    unnamed.chmod(0o755)
    unnamed.rename(script)
