"""Writer of docs/options.md from the options of the modules; with --check it names a stale page.

The modules are evaluated: `<nixpkgs>` and `<sops-nix>` must resolve.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "modules/lib/options-doc.nix"
TARGET = ROOT / "docs/options.md"
TIMEOUT_S = 300
HEAD = """\
# Options

Every option of the modules, under `agency`. Written by `tools/options.py`; do not edit.

Most of them need no setting: what an instance runs is said in `instance.yaml`, and the options take
their defaults from it. Set one in a module of your own that you add to the host, as
[install.md](install.md) shows.
"""


def evaluated() -> list[dict[str, Any]]:
    """Read every option, as `options-doc.nix` gives it."""
    argv = ["nix-instantiate", "--eval", "--strict", "--json", str(SOURCE)]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if result.returncode != 0:
        sys.exit(f"the options cannot be evaluated:\n{result.stderr}")
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def _section(name: str) -> str:
    return ".".join(name.split(".")[:2])


def _code(label: str, text: str) -> list[str]:
    if "\n" not in text:
        return [f"- {label}: `{text}`"]
    return [f"- {label}:", "", "  ```nix", *(f"  {line}" for line in text.splitlines()), "  ```"]


def _entry(option: dict[str, Any]) -> list[str]:
    kind = f"{option['type']}{' (read only)' if option['readOnly'] else ''}"
    lines = [f"### `{option['name']}`", "", option["description"], "", f"- type: {kind}"]
    default = option["default"]
    if default is not None:
        lines += _code("default", default) if option["isCode"] else [f"- default: {default}"]
    if option["example"] is not None:
        lines += _code("example", option["example"])
    declared = ", ".join(f"`{path}`" for path in sorted(option["declarations"]))
    return [*lines, f"- declared in: {declared}", ""]


def rendered(options: list[dict[str, Any]]) -> str:
    """Render the whole page."""
    lines = [HEAD]
    ordered = sorted(options, key=lambda option: option["name"].split("."))
    for section, group in groupby(ordered, key=lambda option: _section(option["name"])):
        lines += [f"## {section}", ""]
        for option in group:
            lines += _entry(option)
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: list[str]) -> int:
    """Write or check the page; exit status 0 current or written, 1 stale, 2 wrong usage."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: options.py [--check]\n")
        return 2
    wanted = rendered(evaluated())
    if not arguments:
        TARGET.write_text(wanted)
        return 0
    if TARGET.exists() and TARGET.read_text() == wanted:
        return 0
    sys.stderr.write("docs/options.md is stale; run: python tools/options.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
