"""Needs of a run in a guest, looked at before anything is made: all that is missing, at once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agency.errors import PrerequisiteError
from agency.guests import INCUS_INSTALL_HINT as INCUS_HINT
from agency.guests import (
    MMDEBSTRAP_HINT,
    NPM_HINT,
    Incus,
    Kind,
    WantedKind,
    choose_pool,
    decide,
    find_daemon,
    host_socket,
    is_running,
    require_programs,
)
from agency.guests import NIX_INSTALL_HINT as NIX_HINT
from agency.programs import find_program
from agency.secrets import age, sops
from agency.spinup.suite.requirements import require_suite
from agency.spinup.targets.incus.config import Config
from agency.spinup.targets.incus.parts import Part
from agency.spinup.targets.incus.system.choice import (
    Host,
    System,
    WantedSystem,
    choose_system,
    look_at_host,
)

_SET_UP = "on Debian, `make setup-guest` as root installs programs and packages"

_UTIL_LINUX = "install util-linux"
_ALWAYS = {
    "incus": INCUS_HINT,
    "age-keygen": age.HINT,
    "sops": sops.SOPS_HINT,
    "setpriv": _UTIL_LINUX,
    "unshare": _UTIL_LINUX,
}


class _Lacks(list[PrerequisiteError]):
    """All that is missing."""

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Add the error of the block."""
        try:
            yield
        except PrerequisiteError as error:
            self.append(error)

    def note_programs(self, hints: Mapping[str, str]) -> None:
        """Add each program that is not installed."""
        for name, hint in hints.items():
            with self.noting():
                find_program(name, hint=hint)


@dataclass(frozen=True, slots=True)
class Needs:
    """Needs of a run so configured; `base` keeps images and wheels, `source` is the checkout."""

    config: Config
    base: Path
    source: Path
    parts: Sequence[Part] = ()

    def refuse_lacking_here(self) -> None:
        """Refuse what can be seen to be missing while no Incus answers that could say more.

        Raises:
            PrerequisiteError: something is missing; all of it is named.
        """
        if not _incus_is_there():
            lacks = self._of_machine()
            self._note_materials(lacks, self._likely)
            refuse(lacks)

    async def refuse_lacking(self, incus: Incus) -> None:
        """Refuse what is missing, of this machine and of the Incus that answers.

        Raises:
            PrerequisiteError: something is missing; all of it is named.
        """
        lacks, kind = self._of_machine(), self._likely
        with lacks.noting():
            kind = decide(await incus.server(), self.config.kind).kind
        with lacks.noting():
            await choose_pool(incus, self.config.pool)
        self._note_materials(lacks, kind)
        refuse(lacks)

    @property
    def _likely(self) -> Kind:
        """Kind of the guest, as far as that can be said without an Incus."""
        return Kind.VM if self.config.kind is WantedKind.VM else Kind.CONTAINER

    def _of_machine(self) -> _Lacks:
        lacks = _Lacks()
        if os.geteuid() != 0:
            hint = "run it as root; --target local needs no rights"
            lacks.append(PrerequisiteError("only root can make a guest", where="user", hint=hint))
        if not (self.source / "pyproject.toml").is_file():
            message = "a guest is made from a checkout, and this is none"
            hint = "clone the project and run it from there"
            lacks.append(PrerequisiteError(message, where=str(self.source), hint=hint))
        with lacks.noting():
            require_suite(self.source / "tests" / "guest")
        if not _incus_is_there():
            with lacks.noting():
                find_daemon()
        lacks.note_programs(_ALWAYS)
        for part in self.parts:
            lacks.note_programs(part.programs)
            with lacks.noting():
                part.refuse_lacking()
        return lacks

    def _note_materials(self, lacks: _Lacks, kind: Kind) -> None:
        """Add what making the image and what goes with it takes."""
        wanted, host = self.config.system, Host(nixos=False, built=False)
        if wanted is WantedSystem.AUTO:
            host = look_at_host(self.base, self.source, kind)
        if choose_system(host, wanted).system is System.NIXOS:
            if self.parts:
                lacks.append(_no_parts())
            lacks.note_programs({"npm": NPM_HINT, "nix": NIX_HINT})
            return
        lacks.note_programs({"npm": NPM_HINT, "mmdebstrap": MMDEBSTRAP_HINT})
        if kind is Kind.VM:
            with lacks.noting():
                require_programs()


def _no_parts() -> PrerequisiteError:
    message = "a NixOS guest has no parts of a profile: they are exported for Debian"
    return PrerequisiteError(message, where="--with", hint="say --image debian")


def _incus_is_there() -> bool:
    return host_socket() is not None or is_running()


def refuse(lacks: Sequence[PrerequisiteError]) -> None:
    """Raise one error that names everything that is missing; nothing where that is nothing."""
    if len(lacks) == 1:
        raise lacks[0]
    if lacks:
        lines = "".join(f"\n  - {_one_line(lack)}" for lack in lacks)
        raise PrerequisiteError(
            f"a guest cannot be made here, for {len(lacks)} reasons:{lines}", hint=_SET_UP
        )


def _one_line(lack: PrerequisiteError) -> str:
    said = f"{lack.where}: {lack.message}" if lack.where else lack.message
    return f"{said} ({lack.hint})" if lack.hint else said
