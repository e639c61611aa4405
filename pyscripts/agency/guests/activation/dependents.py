"""Units that a change concerns: a unit depends on the files that its texts name, and so on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agency.guests.activation.changes import Change
from agency.guests.activation.files import UNITS, template_of


def unit_of(path: str) -> str | None:
    """Find the unit that a path among the units defines, itself or by a drop-in."""
    if not path.startswith(f"{UNITS}/"):
        return None
    return path.split("/")[3].removesuffix(".d")


def definitions_of(unit: str, texts: Mapping[str, str]) -> list[str]:
    """List the paths that define a unit: its own, its template's, and those of drop-ins."""
    template = template_of(unit)
    names = {unit, f"{unit}.d", template, f"{template}.d"}
    return [path for path in texts if unit_of(path) and path.split("/")[3] in names]


def concerned(unit: str, texts: Mapping[str, str], changed: Iterable[str]) -> bool:
    """Return whether a change of one of the paths (below /) concerns the unit.

    `texts` are all wanted files. A path counts when the unit's definition is there, when the
    definition names it, or when a file that is named so names it.
    """
    changed_paths = {path.lstrip("/") for path in changed}
    reached: set[str] = set()
    waiting = definitions_of(unit, texts)
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        text = texts.get(path, "")
        waiting += [other for other in texts if other not in reached and f"/{other}" in text]
        if path in changed_paths or any(f"/{other}" in text for other in changed_paths):
            return True
    return any(path in changed_paths for path in _drop_ins(unit, changed_paths))


def _drop_ins(unit: str, changed: Iterable[str]) -> list[str]:
    """List changed paths that override the unit though nothing wants them: they were removed."""
    return [path for path in changed if f"/{unit}.d/" in path or path.endswith(f"/{unit}")]


def gone_units(changes: Iterable[Change], texts: Mapping[str, str]) -> list[str]:
    """Patterns of units that are no more, by their files that go; `texts` are all wanted files.

    An instance of a template is gone when nothing names it any more, a template with its file.
    """
    named = {unit_of(path) for path in texts}
    gone = set()
    for change in changes:
        unit = unit_of(change.what)
        if unit is None or change.after != "absent" or unit in named:
            continue
        is_definition = change.what == f"{UNITS}/{unit}"
        if "@." in unit:
            gone |= {unit.replace("@.", "@*.")} if is_definition else set()
        elif is_definition or "@" in unit:
            gone.add(unit)
    return sorted(gone)
