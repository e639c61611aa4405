"""Pages from templates, where everything is escaped that others wrote."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from agency.recipes.dashboard.logs.ansi import plain
from agency.recipes.dashboard.views import links, words

_PACKAGE = "agency.recipes.dashboard"
_TYPES = {"css": "text/css", "mjs": "text/javascript", "svg": "image/svg+xml"}
_ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">\
<circle cx="8" cy="8" r="7" fill="#0b5fa5"/>\
<path d="M4.5 8.5l2.5 2.5 4.5-5.5" fill="none" stroke="#fff" stroke-width="2"/></svg>
"""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages load; `path` changes with its content, so browsers may keep it."""

    path: str
    data: bytes
    content_type: str


@cache
def assets() -> dict[str, Asset]:
    """Read the files that pages load, by name."""
    folder = files(_PACKAGE) / "assets"
    found = {name: (folder / name).read_bytes() for name in ("dashboard.css", "live.mjs")}
    found["icon.svg"] = _ICON.encode()
    return {
        name: Asset(
            f"/assets/{hashlib.sha256(data).hexdigest()[:12]}/{name}",
            data,
            _TYPES[name.rpartition(".")[2]],
        )
        for name, data in found.items()
    }


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader(_PACKAGE),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    made.globals.update(links=links, words=words, assets=assets())
    return made


def _finalize(value: object) -> object:
    """Show control characters of texts as escapes; templates mark what they have escaped."""
    if type(value) is not str or value.isprintable():
        return value
    return plain(value)


def page(template: str, /, **values: object) -> bytes:
    """Fill the template at `templates/<template>.html.j2`; a name without a value is an error."""
    text = _environment().get_template(f"{template}.html.j2").render(values)
    return text.encode(errors="replace")
