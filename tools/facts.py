"""Writer of the program's facts for NixOS into modules/; with --check it names stale files.

`modules/naming.json` comes from `agency.naming`, `modules/unwritten.json` from `agency.unwritten`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from agency import naming, unwritten

MODULES = Path(__file__).resolve().parent.parent / "modules"


def wanted() -> Mapping[Path, str]:
    """Return the text of each file."""
    documents = {"naming.json": naming.facts(), "unwritten.json": unwritten.facts()}
    return {
        MODULES / name: json.dumps(document, indent=2) + "\n"
        for name, document in documents.items()
    }


def main(arguments: list[str]) -> int:
    """Write or check the files; exit status 0 current or written, 1 stale, 2 wrong usage."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: facts.py [--check]\n")
        return 2
    stale = {
        path: text
        for path, text in wanted().items()
        if not path.is_file() or path.read_text() != text
    }
    if arguments and stale:
        names = ", ".join(f"modules/{path.name}" for path in stale)
        sys.stderr.write(f"stale: {names}; run: python tools/facts.py\n")
        return 1
    for path, text in stale.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
