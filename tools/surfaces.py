"""Check that a package takes from another only its public names.

The public names of `agency.P` stand in its `__init__.pyi`; an import of `agency.P.part` by another
package is a violation. Standard library only; exits with status 1 and names every violation.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "agency"


def imports(source: str) -> Iterator[tuple[int, str]]:
    """List the absolute imports of a file, also those inside functions, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def violations(tree: Path) -> list[str]:
    """Find the imports below `tree`/agency that reach inside another package."""
    top = tree / PACKAGE
    packages = {path.parent.name for path in top.glob("*/__init__.py")}
    found = []
    for path in sorted(top.rglob("*.py")):
        own = path.relative_to(top).parts[0]
        for line, module in imports(path.read_text()):
            parts = module.split(".")
            inside = len(parts) > 2 and parts[0] == PACKAGE and parts[1] in packages
            if inside and parts[1] != own:
                public = ".".join(parts[:2])
                where = path.relative_to(tree)
                found.append(f"{where}:{line}: {module} is not public: import from {public}")
    return found


def main(arguments: list[str]) -> int:
    """Print every violation; the tree may be given, for tests."""
    found = violations(Path(arguments[0]) if arguments else ROOT / "pyscripts")
    for line in found:
        print(line)  # noqa: T201 - runs without the product
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
