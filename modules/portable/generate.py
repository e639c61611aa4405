"""Write the exported units beside this file, or with --check say whether they are current.

They are evaluated from the NixOS modules: `<nixpkgs>` and `<sops-nix>` must resolve.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TIMEOUT_S = 300
# Below here: what every machine gets, what follows from the instance (jinja2 templates over
# `instance` and `generated`), what each agent adds (over `agent`), and which units are started.
FOLDERS = {
    "machine": "files",
    "instance": "instanceFiles",
    "agent": "agentFiles",
    # JSON documents of a part, which the activation joins with those that every guest has.
    "joined": "joinedFiles",
}
START = "start.json"
# The same of each part that a profile of a spin-up adds, which the default guest has nothing of.
PARTS = "parts"


def evaluated() -> dict[str, str]:
    """Every exported file, by its path below this directory."""
    argv = [
        # Texts that NixOS writes for its units are kept in the store while they are read.
        *("nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode"),
        *("-A", "portableUnits", str(ROOT)),
    ]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if result.returncode != 0:
        sys.exit(f"the units cannot be evaluated:\n{result.stderr}")
    export = json.loads(result.stdout)
    files = exported(export)
    for name, part in export[PARTS].items():
        files |= {f"{PARTS}/{name}/{path}": text for path, text in exported(part).items()}
    return files


def exported(export: dict[str, Any]) -> dict[str, str]:
    """Return the files of one export by their path."""
    files = {
        f"{folder}/{path}": text
        for folder, attribute in FOLDERS.items()
        for path, text in export.get(attribute, {}).items()
    }
    return files | {START: json.dumps(export["start"], indent=2) + "\n"}


def present() -> dict[str, str]:
    """Every file that is there."""
    below = [path for folder in (*FOLDERS, PARTS) for path in sorted((HERE / folder).rglob("*"))]
    return {
        path.relative_to(HERE).as_posix(): path.read_text()
        for path in [*below, HERE / START]
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
