"""Files of `tests/recipes/<recipe>/` as the templates give them for a recipe."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from agency.recipes.enrol.findings import Findings
from agency.recipes.enrol.proposals import suites

READINESS = "readiness.yaml"


@cache
def _environment() -> Environment:
    # Python and YAML, no HTML; what is filled in has been checked to be names and paths.
    return Environment(  # noqa: S701
        loader=PackageLoader("agency.recipes.enrol"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def test_files(found: Findings) -> dict[str, str]:
    """Render the files that the recipe's stages need, by name."""
    names = (READINESS, *(f"test_{suite}.py" for suite in suites(found)))
    values = {
        "recipe": found.recipe,
        "path": found.health_path,
        "secrets": [name for name in found.secrets if name.isidentifier()],
        "volumes": [name for name in found.volumes if name.isprintable()],
        "backed_up": found.backed_up,
    }
    return {name: _environment().get_template(f"{name}.j2").render(values) for name in names}
