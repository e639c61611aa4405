"""Write the exported units beside this file, or with --check say whether they are current.

They are evaluated from the NixOS modules: `<nixpkgs>` and `<sops-nix>` must resolve.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TIMEOUT_S = 300
# Below here: what every machine gets, and what each agent adds (jinja2 templates over `agent`).
COMMON, PER_AGENT = "machine", "agent"


def evaluated() -> dict[str, str]:
    """Every exported file, by its path below this directory."""
    argv = [
        *("nix-instantiate", "--eval", "--strict", "--json"),
        *("-A", "portableUnits", str(ROOT)),
    ]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if result.returncode != 0:
        sys.exit(f"the units cannot be evaluated:\n{result.stderr}")
    export = json.loads(result.stdout)
    return {f"{COMMON}/{path}": text for path, text in export["files"].items()} | {
        f"{PER_AGENT}/{path}": text for path, text in export["agentFiles"].items()
    }


def present() -> dict[str, str]:
    """Every file that is there."""
    return {
        path.relative_to(HERE).as_posix(): path.read_text()
        for folder in (COMMON, PER_AGENT)
        for path in sorted((HERE / folder).rglob("*"))
        if path.is_file()
    }


def differences(wanted: dict[str, str], there: dict[str, str]) -> list[str]:
    """One line for each file that is not as it should be."""
    return sorted(
        [f"{path} is missing" for path in wanted.keys() - there.keys()]
        + [f"{path} is superfluous" for path in there.keys() - wanted.keys()]
        + [
            f"{path} is stale"
            for path in wanted.keys() & there.keys()
            if wanted[path] != there[path]
        ]
    )


def write(wanted: dict[str, str], there: dict[str, str]) -> None:
    """Make the files as they should be."""
    for path in there.keys() - wanted.keys():
        (HERE / path).unlink()
    for path, text in wanted.items():
        target = HERE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def main(arguments: list[str]) -> int:
    """Exit status: 0 current, 1 stale, 2 wrong usage."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: generate.py [--check]\n")
        return 2
    wanted, there = evaluated(), present()
    found = differences(wanted, there)
    if not arguments:
        write(wanted, there)
        return 0
    if found:
        lines = "\n".join(found)
        sys.stderr.write(f"{lines}\nrun: python modules/portable/generate.py\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
