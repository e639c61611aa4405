"""JSON Schema of the Statement that spin-ups write now.

Each version publishes its schema as schema.json beside its rules. Run as a program, this module
prints the schema of the newest version; a test compares the two. To regenerate the file, from the
root of the repository:

    f=pyscripts/agency/transcript/rules/v2/schema.json
    python -m agency.transcript.schema > $f.new && mv $f.new $f
"""

from __future__ import annotations

import json
import sys
from typing import Any

from agency.transcript.versions import CURRENT

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the schema as JSON data."""
    generated = CURRENT.statement.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": DIALECT, "$id": f"{CURRENT.predicate_type}:schema", **generated}


def schema_text() -> str:
    """Return the schema as the published file holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
