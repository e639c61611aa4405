"""The schemas of the sheets, as docs have them, and as another validator reads them."""

import json
import sys
from pathlib import Path

import jsonschema
import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"
SCHEMAS = json.loads((DOCS / "workspace-schemas.json").read_text())


def test_the_file_is_current():
    sys.path.insert(0, str(DOCS.parent / "tools"))
    try:
        from docgen.workspace import text
    finally:
        sys.path.pop(0)
    assert (DOCS / "workspace-schemas.json").read_text() == text(), "run: make docs"


TASK = {"name": "a", "description": "x", "needs": ["b"]}
ISSUE = {"name": "a", "description": "x", "discovered_during": "y", "severity": "low"}


@pytest.mark.parametrize(
    ("sheet", "good", "bad"),
    [
        ("TASKS.yaml", {"tasks": [TASK]}, {"tasks": [TASK | {"status": "done"}]}),
        ("TASKS.yaml", {"tasks": []}, {"tasks": [TASK | {"more": 1}]}),
        ("ISSUES.yaml", {"issues": [ISSUE]}, {"issues": [ISSUE | {"severity": "awful"}]}),
        ("SCHEDULES.yaml", {"schedules": []}, {"schedules": [{"name": "a"}]}),
    ],
)
def test_another_validator_reads_them_alike(sheet, good, bad):
    jsonschema.validate(good, SCHEMAS[sheet])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, SCHEMAS[sheet])
