"""Editing of an encrypted file by a person, in an editor on the terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from agency.errors import PrerequisiteError
from agency.programs import find_program
from agency.secrets.encryption.age import KEY_VARIABLE
from agency.secrets.encryption.document import parse
from agency.secrets.encryption.keys import Keys, identity_for
from agency.secrets.encryption.program import (
    UNCHANGED,
    SopsError,
    explain,
    find_sops,
    in_memory,
    private_directory,
)

_USUAL = ("editor", "sensible-editor", "nano", "vim", "vi")
_NAMED = ("SOPS_EDITOR", "VISUAL", "EDITOR")


def find_editor(environ: Mapping[str, str] = os.environ) -> str:
    """Return the command of the person's editor.

    Raises:
        PrerequisiteError: none is named, and none of the usual ones is installed.
    """
    named = next((environ[name] for name in _NAMED if environ.get(name)), None)
    found = named or next((name for name in _USUAL if shutil.which(name)), None)
    if found is None:
        raise PrerequisiteError(
            "there is no editor", where="$EDITOR", hint="set it, such as `EDITOR=nano`"
        )
    return found


def edit_by_hand(path: Path, content: bytes, keys: Keys) -> bytes:
    """Let a person edit the plain values; returns the new encrypted content.

    The plain text lies in memory, in a directory of this user alone. The editor gets the person's
    home back, which sops does not see.

    Raises:
        PrerequisiteError: sops, an editor or the key is missing.
        BadInputError: the file was changed by something but sops.
    """
    key = identity_for(path, parse(path, content), keys)
    editor, env_program = find_editor(), find_program("env", hint="install coreutils")
    kept = [f"{name}={os.environ[name]}" for name in _HOMES if name in os.environ]
    program, data = find_sops(), key.reveal().encode()
    with private_directory() as home, private_directory() as place, in_memory(data) as identity:
        copy = place / "secrets.yaml"
        copy.write_bytes(content)
        environ = {name: value for name, value in os.environ.items() if _is_passed(name)}
        environ |= {"HOME": str(home), "TMPDIR": str(place)}
        environ[KEY_VARIABLE] = f"/proc/self/fd/{identity}"
        environ["SOPS_EDITOR"] = f"{shlex.join([env_program, *kept])} {editor}"
        # No time limit: a person edits. The terminal is theirs.
        done = subprocess.run(
            [program, "edit", str(copy)],
            env=environ,
            cwd=home,
            pass_fds=[identity],
            check=False,
        )
        if done.returncode not in {0, UNCHANGED}:
            raise explain(SopsError(done.returncode), path, "edit")
        return copy.read_bytes()


_HOMES = ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")


def _is_passed(name: str) -> bool:
    return not name.startswith(("SOPS_", "GNUPG")) and name not in _HOMES
