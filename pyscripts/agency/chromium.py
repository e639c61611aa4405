"""Chromium of this machine: where it is, and a home in which it trusts given authorities."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from agency.errors import PrerequisiteError
from agency.programs import find_program, run_program

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
BROWSER_HINT = "install a Chromium (Debian: chromium-headless-shell)"
CERTUTIL_HINT = "install NSS's tools (Debian: libnss3-tools); the browser's authority is set by it"
_TIMEOUT_S = 30.0
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def find_browser() -> str:
    """Find a Chromium on PATH.

    Raises:
        PrerequisiteError: there is none.
    """
    for name in BROWSERS:
        found = shutil.which(name)
        if found is not None:
            return found
    raise PrerequisiteError("no Chromium is installed", where="PATH", hint=BROWSER_HINT)


def trust_authorities(home: Path, pem: str) -> None:
    """Make a store of authorities in a home; Chromium looks there beside its own.

    Raises:
        PrerequisiteError: certutil is not installed.
    """
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True, mode=0o700)
    where = ("-d", f"sql:{database}")
    certutil = find_program("certutil", hint=CERTUTIL_HINT)
    run_program([certutil, *where, "-N", "--empty-password"], timeout=_TIMEOUT_S)
    for number, certificate in enumerate(_CERTIFICATE.findall(pem)):
        file = home / f"authority-{number}.pem"
        file.write_text(certificate)
        trusted = ("-A", "-t", "C,,", "-n", f"run-{number}", "-i", str(file))
        run_program([certutil, *where, *trusted], timeout=_TIMEOUT_S)
