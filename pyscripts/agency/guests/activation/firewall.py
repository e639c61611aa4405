"""The firewall: what is loaded, compared with what the files say.

The files are loaded in an empty network namespace and listed there by the same nft, so that
nothing of its language is known here.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

from agency.canonical import canonical_json, sha256_hex
from agency.guests.activation.changes import Change
from agency.programs import run_program, run_to_end

MAIN_FILE = "/etc/nftables.conf"
TABLE = ("inet", "agency-agents")
_NFT = "/usr/sbin/nft"
_TIMEOUT_S = 30.0
_CLONE_NEWNET = 0x40000000


def normal(listing: bytes) -> bytes:
    """Strip from a listing in JSON what differs between two loads: handles and order in sets."""
    entries = json.loads(listing)["nftables"]
    return canonical_json([_normal(entry) for entry in entries if "metainfo" not in entry])


def _normal(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _normal(one) for key, one in value.items() if key != "handle"}
        if isinstance(kept.get("elem"), list):
            kept["elem"] = sorted(kept["elem"], key=canonical_json)
        return kept
    return [_normal(one) for one in value] if isinstance(value, list) else value


def _list_argv() -> list[str]:
    return [_NFT, "--json", "--stateless", "--numeric", "list", "table", *TABLE]


def loaded() -> bytes | None:
    """List the table that is loaded, or None."""
    done = run_to_end(_list_argv(), timeout=_TIMEOUT_S)
    return normal(done.stdout) if done.status == 0 else None


def wanted() -> bytes:
    """List the table that the files make."""
    argv = [sys.executable, "-I", "-m", __name__]
    return normal(run_program(argv, timeout=_TIMEOUT_S))


def difference() -> list[Change]:
    """Compare the table that is loaded with the files, by digests."""
    there, should = loaded(), wanted()
    if there == should:
        return []
    before = "absent" if there is None else sha256_hex(there)[:12]
    return [Change("firewall", " ".join(TABLE), before, sha256_hex(should)[:12])]


def load() -> None:
    """Load the files, in one transaction."""
    run_program([_NFT, "--file", MAIN_FILE], timeout=_TIMEOUT_S)


def _list_in_a_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    run_program([_NFT, "--file", MAIN_FILE], timeout=_TIMEOUT_S)
    Path("/dev/stdout").write_bytes(run_program(_list_argv(), timeout=_TIMEOUT_S))


if __name__ == "__main__":
    _list_in_a_namespace()
