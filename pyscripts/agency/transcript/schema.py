"""The published JSON Schema of a transcript's Statement.

Run as a program it prints the schema; schema.json beside it is that output, and a test holds the
two together. To make it anew, from the root of the repository:

    f=pyscripts/agency/transcript/schema.json
    python -m agency.transcript.schema > $f.new && mv $f.new $f
"""

from __future__ import annotations

import json
import sys
from typing import Any

from agency.transcript.model import PREDICATE_TYPE, Statement

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The schema as JSON data."""
    generated = Statement.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": DIALECT, "$id": f"{PREDICATE_TYPE}:schema", **generated}


def schema_text() -> str:
    """The schema as the published file holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
