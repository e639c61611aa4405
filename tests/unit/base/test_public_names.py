"""Public names that load when first used: they are all there, and cost nothing before."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3] / "pyscripts"
PACKAGES = sorted(
    ".".join(stub.parent.relative_to(ROOT).parts) for stub in ROOT.rglob("__init__.pyi")
)
# Loading any of them must not load these.
HEAVY = ("aiohttp", "gitlab", "requests", "aiodocker", "pydantic", "sqlalchemy", "synapse")


def test_there_are_public_names():
    assert {"agency.secrets", "agency.control", "agency.transcript", "agency.web"} <= set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package):
    module = import_module(package)
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = module.nothing


def test_a_package_loads_nothing_heavy_before_it_is_used():
    code = (
        f"import sys, importlib; [importlib.import_module(p) for p in {PACKAGES}];"
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
