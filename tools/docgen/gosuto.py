"""Generator of docs/gosuto-spec.md and docs/gosuto.schema.json from the model of a Gosuto.

`python tools/docgen/gosuto.py docs` writes both; a test fails if one is stale.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from agency.gosuto.document import document_schema
from agency.gosuto.enforcement import fields
from agency.gosuto.template import load_template, template_names

PAGE, SCHEMA = "gosuto-spec.md", "gosuto.schema.json"

_INTRODUCTION = Path(__file__).parent / "gosuto-spec.txt"


def page() -> str:
    """Return the text of the page."""
    rows = []
    for field in fields():
        needed = "; needed" if field.needed else ""
        enforcer = field.enforcer
        by = enforcer if enforcer.startswith("not enforced") else f"`{enforcer}`"
        rows.append(f"| `{field.name}` | {field.type}{needed} | {field.description} | {by} |")
    return _INTRODUCTION.read_text() + "\n".join(rows) + "\n" + _templates()


def _templates() -> str:
    lines = ["", "## Templates", ""]
    for name in template_names():
        template = load_template(name)
        lines.append(f"- `{name}`: {template.summary}")
        for variable, about in template.variables.items():
            rest = "" if about.default is None else f"; default `{about.default}`"
            lines.append(f"  - `{variable}` ({about.kind}): {about.summary}{rest}")
    lines += [
        "",
        "A variable is checked by its kind; an unknown or missing one is refused. A value takes",
        "the place of its name inside one text of the template, after the template was parsed: it",
        "cannot become YAML, and is not read again for names.",
        "",
    ]
    return "\n".join(lines)


def schema() -> str:
    """Return the text of the JSON Schema."""
    return json.dumps(document_schema(), indent=2, ensure_ascii=False) + "\n"


def main(folder: Path) -> None:
    """Write both files."""
    (folder / PAGE).write_text(page())
    (folder / SCHEMA).write_text(schema())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
