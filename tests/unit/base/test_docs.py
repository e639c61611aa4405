"""The documentation names things that exist: tests, files, commands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
TEST_NAME = re.compile(r"`(tests/[\w/.-]+\.py)::(?:(\w+)::)?(\w+)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page):
    for path, owner, name in TEST_NAME.findall(page.read_text()):
        source = ROOT / path
        assert source.is_file(), f"{page.name} names {path}"
        assert re.search(rf"def {name}\(", source.read_text()), f"{page.name} names {path}::{name}"
        if owner:
            told = f"{page.name} names {owner} in {path}"
            assert re.search(rf"^class {owner}\b", source.read_text(), re.MULTILINE), told


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_invariant_names_a_test_that_holds_it():
    rows = [
        line
        for line in (ROOT / "docs" / "threat-model.md").read_text().splitlines()
        if re.match(r"\| *I\d+ *\|", line)
    ]
    assert len(rows) >= 20
    for row in rows:
        assert TEST_NAME.search(row), f"no test holds: {row}"


def test_every_fault_and_adversary_of_an_agent_names_a_test_that_provokes_it():
    page = (ROOT / "docs" / "threat-model.md").read_text()
    (section,) = re.findall(r"^## Faults and adversaries.*?(?=^## |\Z)", page, re.M | re.S)
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 24
    for row in rows:
        assert TEST_NAME.search(row), f"no test provokes: {row}"


@pytest.mark.parametrize(("generator", "name"), [("shell", "cli"), ("instance", "instance")])
def test_a_generated_reference_is_current(tmp_path, generator, name):
    # In a process of its own: click keeps what it made of a command's options the first time.
    page, command = tmp_path / "page.md", f"tools/docgen/{generator}.py"
    subprocess.run([sys.executable, str(ROOT / command), str(page)], check=True, timeout=60)
    written = (ROOT / "docs" / f"{name}.md").read_text()
    assert written == page.read_text(), f"run: python {command} docs/{name}.md"


MOST_IN_A_CELL = 300


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_table_cells_can_be_read_at_one_glance(page):
    rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    cells = [cell for row in rows for cell in row.split("|")]
    assert [cell for cell in cells if len(cell) > MOST_IN_A_CELL] == []
