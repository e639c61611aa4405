"""Render docs/secrets.md and the example .sops.yaml from the catalogue of secrets.

`python tools/docgen/catalogue.py` writes both; with --check it exits 1 if one is stale.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from agency.instance.jinja import fill
from agency.secrets.catalogue import Catalogue, Entry, catalogue
from agency.secrets.classes import SecretClass

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/secrets.md"
EXAMPLE = ROOT / "secrets/example.sops.yaml"
# Nobody's keys: their checksum is wrong, so that nothing can be encrypted to them by mistake.
RECIPIENTS = (("host", "age1" + "q" * 58), ("recovery", "age1" + "p" * 58))
WORDS = {
    "agent": "the agent",
    "domains": "the instance's host names",
}
EXAMPLE_HEAD = """\
# An example of an instance's .sops.yaml. Written by tools/docgen/catalogue.py; do not edit.
# `agency init` makes the real one, with the recipients of instance.yaml.
#
# secrets/secrets.yaml beside it holds, each under its name, those of these that the instance needs
# (`agency secrets list`). Brought by an operator:
{brought}
# Made by us:
{made}
"""


def _name(template: str) -> str:
    return re.sub(r"\{([a-z]+)\}", r"<\1>", template)


def _told(text: str) -> str:
    for word, meant in WORDS.items():
        text = text.replace(f"{{{word}}}", meant)
    return text


def _class(entry: Entry) -> str:
    foreign = entry.foreign_forge
    return entry.cls if foreign is None else f"{entry.cls}; {foreign.cls} with another's forge"


def _readers(entry: Entry) -> str:
    def told(unit: str) -> str:
        return f"`{_name(unit)}`" + ("" if unit in entry.restarts else " (stays up)")

    return ", ".join(map(told, entry.consumers)) or "-"


def _procedure(entry: Entry) -> str:
    rotation, foreign = entry.rotation, entry.foreign_forge
    steps = f"*{rotation.procedure}*"
    if foreign is not None:
        steps += f" (A1: *{foreign.procedure}*)"
    return steps if rotation.note is None else f"{steps}; {rotation.note}"


def _table(*rows: tuple[str, ...]) -> Iterator[str]:
    head, *body = rows
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in body:
        yield f"| {' | '.join(row)} |"


def facts(known: Catalogue) -> Iterator[str]:
    """Write the table of all secrets and their facts."""
    entries = known.secrets.items()
    yield from _table(
        ("secret", "what it does", "class", "form", "read by"),
        *(
            (
                f"`{_name(name)}`",
                _told(one.description),
                _class(one),
                known.forms[one.form],
                _readers(one),
            )
            for name, one in entries
        ),
    )


def rotation(known: Catalogue) -> Iterator[str]:
    """Write the procedures, and the table of how each secret is replaced."""
    for name, text in known.procedures.items():
        yield f"- *{name}*: {text}."
    yield ""
    yield from _table(
        ("secret", "every", "how", "what it costs"),
        *(
            (
                f"`{_name(name)}`",
                "-" if one.rotation.days is None else f"{one.rotation.days} days",
                _procedure(one),
                one.rotation.costs,
            )
            for name, one in known.secrets.items()
        ),
    )


PARTS = {"facts": facts, "rotation": rotation}


def page(text: str, known: Catalogue) -> str:
    """Replace the rendered parts of the page; each stands between two comments."""
    for name, part in PARTS.items():
        begin, end = f"<!-- catalogue: {name} -->\n", "<!-- end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            sys.exit(f"{PAGE.name} has no part {begin.strip()} ... {end}")
        text = before + begin + "\n".join(part(known)) + "\n" + end + after
    return text


def example(known: Catalogue) -> str:
    """Write the example .sops.yaml."""

    def listed(cls: SecretClass) -> str:
        found = (
            _name(name)
            for name, one in known.secrets.items()
            if cls in {one.cls, one.foreign_forge.cls if one.foreign_forge else one.cls}
        )
        return "\n".join(f"#   {name}" for name in found)

    head = EXAMPLE_HEAD.format(brought=listed(SecretClass.A1), made=listed(SecretClass.A2))
    rules = fill("sops.yaml.j2", recipients=RECIPIENTS).decode()
    return head + "".join(line for line in rules.splitlines(True) if not line.startswith("#"))


def main(arguments: list[str]) -> int:
    """Write or check both; exit status: 0 current or written, 1 stale, 2 wrong usage."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: catalogue.py [--check]\n")
        return 2
    known = catalogue()
    wanted = {PAGE: page(PAGE.read_text(), known), EXAMPLE: example(known)}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if not arguments:
        for path in stale:
            path.write_text(wanted[path])
        return 0
    for path in stale:
        shown = path.relative_to(ROOT)
        sys.stderr.write(f"{shown} is stale; run: python tools/docgen/catalogue.py\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
