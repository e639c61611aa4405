"""Generator of the JSON Schemas of a workspace's sheets: docs/workspace-schemas.json.

`python tools/docgen/workspace.py docs/workspace-schemas.json` writes it; a test finds it stale.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from agency.workspace.incidents.model import schema as issues_schema
from agency.workspace.tasks.model import schemas


def text() -> str:
    """Return the text of the file: one schema a sheet, by the sheet's name."""
    told = {**schemas(), "ISSUES.yaml": issues_schema()}
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text())
