"""Docstrings begin with a noun or an imperative, never with a question word."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FROZEN = ROOT / "pyscripts/agency/transcript/rules/v1"  # its text is under a checksum
WORDS = {"What", "Whether", "Who", "How", "Where", "When", "Which", "Why"}
FOLDERS = ("pyscripts", "tools", "benchmarks", "soak")


def questions(text: str) -> list[int]:
    """Lines of the docstrings that begin so."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        getattr(node, "lineno", 1)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, kinds)
        if (ast.get_docstring(node) or "x").split(" ", 1)[0] in WORDS
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_docstring_begins_with_a_question_word(folder: str) -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in (ROOT / folder).rglob("*.py")
        if FROZEN not in file.parents
        for line in questions(file.read_text())
    ]
    assert found == []


def test_one_that_does_is_found() -> None:
    assert questions('"""What it is."""') == [1]
    assert questions('class A:\n    """How it is made."""') == [1]
    assert questions('async def a():\n    """Make it."""') == []
