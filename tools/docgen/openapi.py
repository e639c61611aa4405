"""Writer of docs/openapi.json, the description of the HTTP interface, from its routes and models.

python tools/docgen/openapi.py FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

from agency.control.api.openapi import text


def main(file: Path) -> None:
    """Write the description."""
    file.write_text(text())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
