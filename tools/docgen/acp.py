"""Updater of docs/acp.json, the OpenAPI description of ACP, and of the table in docs/acp.md.

`python tools/docgen/acp.py docs/acp.md` rewrites the text between the marks, and the description
beside it; the text outside the marks is written by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from agency.commandline.main import run
from agency.errors import BadInputError
from agency.files import write_atomically
from agency.protocols import ENDPOINTS, AcpEndpoint, openapi_document

_BEGIN = "<!-- begin generated: endpoints -->\n"
_END = "<!-- end generated: endpoints -->\n"


def description() -> str:
    """Write the OpenAPI description as JSON, with a final line break."""
    return json.dumps(openapi_document(), indent=1, ensure_ascii=False) + "\n"


def endpoints_markdown() -> str:
    """Render the table of endpoints as Markdown, with a final line break."""
    rows = ["| endpoint | what it does | good answer | refusals of its own |", "|---|---|---|---|"]
    rows += [_row(each) for each in ENDPOINTS]
    return "\n".join(rows) + "\n"


def _row(endpoint: AcpEndpoint) -> str:
    answer = "events" if endpoint.answer is None else f"`{endpoint.answer.__name__}`"
    refusals = "; ".join(f"{status} {text}" for status, text in sorted(endpoint.problems.items()))
    return (
        f"| `{endpoint.method} {endpoint.path}` | {endpoint.summary} "
        f"| {endpoint.status} {answer} | {refusals or '-'} |"
    )


def refresh(document: str) -> str:
    """Return `document` with its generated table replaced.

    Raises:
        BadInputError: the marks do not appear exactly once, in order.
    """
    before, begin, rest = document.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end) or _BEGIN in after or _END in after:
        raise BadInputError("the marks of the generated table are not there once")
    return f"{before}{begin}{endpoints_markdown()}{end}{after}"


@click.command()
@click.argument("document", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if one of both is stale.")
def main(document: Path, check: bool) -> None:
    """Update the table in DOCUMENT, and the description beside it."""
    wanted = {
        document: refresh(document.read_text(encoding="utf-8")),
        document.with_suffix(".json"): description(),
    }
    for path, text in wanted.items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            raise BadInputError(
                "its generated parts are not current",
                where=str(path),
                hint=f"run: python tools/docgen/acp.py {document}",
            )
        write_atomically(path, text.encode())


if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:], prog_name="acp.py"))
