"""Backports are derived from the archive that a machine uses already."""

import importlib.util
from pathlib import Path

TOOL = Path(__file__).resolve().parents[3] / "tools" / "guest_host.py"
spec = importlib.util.spec_from_file_location("guest_host", TOOL)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

DEB822 = """\
# comment
Types: deb
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /keyring.gpg

Types: deb
URIs: http://archive.example/security
Suites: bookworm-security
Components: main
"""


def test_from_deb822():
    made = tool.stanzas(tool.backports(tool.stanzas(DEB822), "bookworm"))
    assert made == [
        {
            "Types": "deb",
            "URIs": "http://archive.example/debian",
            "Suites": "bookworm-backports",
            "Components": "main",
            "Signed-By": "/keyring.gpg",
        }
    ]


def test_from_one_line_entries():
    text = "# x\ndeb [arch=amd64 signed-by=/k.gpg] http://archive.example/d bookworm main # y\n"
    (made,) = tool.stanzas(tool.backports(tool.one_line_stanzas(text), "bookworm"))
    assert (made["URIs"], made["Signed-By"]) == ("http://archive.example/d", "/k.gpg")
    assert made["Suites"] == "bookworm-backports"


def test_without_the_release_there_is_nothing_to_derive_from():
    assert tool.backports(tool.stanzas(DEB822), "trixie") is None
    assert tool.backports([], "bookworm") is None


def test_npm_is_installed_only_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "npm" in tool.packages()
    (tmp_path / "npm").write_text("")
    (tmp_path / "npm").chmod(0o755)
    assert "npm" not in tool.packages()
    assert set(tool.packages()) >= set(tool.PACKAGES)
