"""What a run in a guest needs, looked at before anything is made: all that is missing, at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
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
from agency.spinup.targets.incus.system.choice import (
    Host,
    System,
    WantedSystem,
    choose_system,
    look_at_host,
)

_SET_UP = "on Debian, `make setup-guest` as root installs programs and packages"

Lacks = list[PrerequisiteError]
_UTIL_LINUX = "install util-linux"
_ALWAYS = {
    "incus": INCUS_HINT,
    "age-keygen": age.HINT,
    "sops": sops.SOPS_HINT,
    "setpriv": _UTIL_LINUX,
    "unshare": _UTIL_LINUX,
}


@dataclass(frozen=True, slots=True)
class Needs:
    """Of a run so configured; `base` keeps images and wheels, `source` is the checkout."""

    config: Config
    base: Path
    source: Path

    def refuse_lacking_here(self) -> None:
        """Refuse what can be seen to be missing while no Incus answers that could say more.

        Raises:
            PrerequisiteError: something is missing; all of it is named.
        """
        if host_socket() is None and not is_running():
            refuse([*self._of_machine(), *self._of_materials(self._likely)])

    async def refuse_lacking(self, incus: Incus) -> None:
        """Refuse what is missing, of this machine and of the Incus that answers.

        Raises:
            PrerequisiteError: something is missing; all of it is named.
        """
        lacks, kind = self._of_machine(), self._likely
        try:
            kind = decide(await incus.server(), self.config.kind).kind
        except PrerequisiteError as error:
            lacks.append(error)
        try:
            await choose_pool(incus, self.config.pool)
        except PrerequisiteError as error:
            lacks.append(error)
        refuse([*lacks, *self._of_materials(kind)])

    @property
    def _likely(self) -> Kind:
        """What the guest will be, as far as that can be said without an Incus."""
        return Kind.VM if self.config.kind is WantedKind.VM else Kind.CONTAINER

    def _of_machine(self) -> Lacks:
        looks: tuple[Callable[[], object], ...] = (
            _require_root,
            self._require_checkout,
            lambda: require_suite(self.source / "tests" / "guest"),
            _require_incus,
        )
        return [*_raised(looks), *_absent(_ALWAYS)]

    def _require_checkout(self) -> None:
        if not (self.source / "pyproject.toml").is_file():
            raise PrerequisiteError(
                "a guest is made from a checkout, and this is none",
                where=str(self.source),
                hint="clone the project and run it from there",
            )

    def _system(self, kind: Kind) -> System:
        wanted, host = self.config.system, Host(nixos=False, built=False)
        if wanted is WantedSystem.AUTO:
            host = look_at_host(self.base, self.source, kind)
        return choose_system(host, wanted).system

    def _of_materials(self, kind: Kind) -> Lacks:
        """What making the image and what goes with it takes."""
        npm = {"npm": NPM_HINT}
        if self._system(kind) is System.NIXOS:
            return _absent(npm | {"nix": NIX_HINT})
        lacks = _absent(npm | {"mmdebstrap": MMDEBSTRAP_HINT})
        return lacks if kind is not Kind.VM else [*lacks, *_raised([require_programs])]


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


def _raised(looks: Sequence[Callable[[], object]]) -> Lacks:
    found: Lacks = []
    for look in looks:
        try:
            look()
        except PrerequisiteError as error:
            found.append(error)
    return found


def _absent(programs: Mapping[str, str]) -> Lacks:
    def finding(name: str, hint: str) -> Callable[[], object]:
        return lambda: find_program(name, hint=hint)

    return _raised([finding(name, hint) for name, hint in programs.items()])


def _require_root() -> None:
    if os.geteuid() != 0:
        raise PrerequisiteError(
            "only root can make a guest",
            where="user",
            hint="run it as root; --target local needs no rights",
        )


def _require_incus() -> None:
    if host_socket() is None and not is_running():
        find_daemon()
