"""Look at a directory of suites: which are there, what is still to be filled in, what cannot run.

Nothing of it is executed: the files are parsed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agency.errors import BadInputError
from agency.recipes.recipe.files import read_file
from agency.recipes.stages.all import SUITES
from agency.recipes.stages.readiness import read_readiness

_FILL_IN = "fill in"
_MAX_FILES = 200


@dataclass(frozen=True, slots=True)
class Suites:
    """State of a directory of suites; `problems` has what is wrong, each with its place."""

    there: tuple[str, ...]
    to_fill_in: tuple[str, ...]
    problems: tuple[str, ...]


def look(directory: Path) -> Suites:
    """Look at the suites in a directory."""
    if directory.is_symlink() or not directory.is_dir():
        return Suites((), (), (f"{directory}: there is no such directory of tests",))
    there, unfilled, problems = [], [], []
    for path in sorted(directory.glob("**/*.py"))[:_MAX_FILES]:
        name = path.relative_to(directory).as_posix()
        try:
            tree = _parse(directory, name)
        except BadInputError as error:
            problems.append(str(error).partition("\n")[0])
            continue
        unfilled += [f"{path}:{line}: {what}" for line, what in _unfilled(tree)]
        if path.name.startswith("test_") and not _has_test(tree):
            problems.append(f"{path}: there is no test in it")
    there = [suite for suite in SUITES if (directory / f"test_{suite}.py").is_file()]
    problems += _readiness(directory)
    return Suites(tuple(there), tuple(unfilled), tuple(problems))


def _parse(directory: Path, name: str) -> ast.Module:
    try:
        return ast.parse(read_file(directory, name))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        told = getattr(error, "msg", None) or "it cannot be parsed"
        raise BadInputError(f"no Python: {told}", where=f"{directory / name}:{line}") from error


def _readiness(directory: Path) -> list[str]:
    try:
        read_readiness(directory)
    except BadInputError as error:
        return [str(error).partition("\n")[0]]
    return []


def _has_test(tree: ast.Module) -> bool:
    found = (ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(one, found) and one.name.startswith("test") for one in ast.walk(tree))


def _unfilled(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Find what the templates leave to a person, where nobody has filled it in."""
    empty = {
        target.id
        for one in tree.body
        if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant)
        for target in one.targets
        if isinstance(target, ast.Name) and not one.value.value
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and _says(node.args[0]):
            yield node.lineno, _text(node.args[0])
        elif isinstance(node, ast.Assert) and node.msg is not None and _says(node.msg):
            if isinstance(node.test, ast.Name) and node.test.id not in empty:
                continue
            yield node.lineno, _text(node.msg)


def _says(node: ast.expr) -> bool:
    return _text(node).startswith(_FILL_IN)


def _text(node: ast.expr) -> str:
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) else ""
