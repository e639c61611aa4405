"""The parts of `make test-pages`: axe-core by its checksum, and a browser."""

from __future__ import annotations

import page_checks
import pytest


def test_axe_has_a_checksum():
    assert page_checks.AXE.sha512.endswith("==")
    assert len(page_checks.AXE.sha512) == 88


def test_without_a_browser_it_says_which(monkeypatch, capsys):
    monkeypatch.setattr(page_checks, "link", lambda packages: None)
    monkeypatch.setattr(page_checks, "find_browser", lambda: None)
    monkeypatch.setattr(page_checks, "codename", lambda: None)
    with pytest.raises(SystemExit) as ended:
        page_checks.main()
    assert ended.value.code == 3
    assert "chromium-headless-shell" in capsys.readouterr().out


def test_one_that_is_there_is_enough(monkeypatch):
    linked = []
    monkeypatch.setattr(page_checks, "link", linked.append)
    monkeypatch.setattr(page_checks, "find_browser", lambda: "/usr/bin/chromium")
    monkeypatch.setattr(page_checks, "install", lambda *_: pytest.fail("nothing to install"))
    page_checks.main()
    assert linked == [(page_checks.AXE,)]
