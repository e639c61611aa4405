"""Copy of the program's source, with bytecode of its own."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import py_compile
import sys
from collections.abc import Iterable
from pathlib import Path

from agency.files import private_directory
from agency.source_digest import SourceFile

_PACKAGES = "pyscripts"
_NAME = "agency"
_KEPT_ENTRIES = 4000  # some versions of the program


def packages_of(root: Path, place: Path) -> Path:
    """Return the directory of packages in a copy of `root` at `place`."""
    return place / _PACKAGES if _is_checkout(root) else place


def _is_checkout(root: Path) -> bool:
    return root.name != _NAME or (root / _PACKAGES).is_dir()


def copy_source(root: Path, files: Iterable[SourceFile], place: Path, cache: Path) -> None:
    """Write files that were read from `root` to `place`.

    The program's modules get bytecode that Python takes without asking, compiled from the content
    of these very files; `cache` is a private directory of it.
    """
    packages = packages_of(root, place)
    top = place if _is_checkout(root) else packages / _NAME
    store = _Bytecode(cache)
    made: set[Path] = set()
    for file in files:
        path = top / file.path
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        if file.is_link:
            path.symlink_to(os.fsdecode(file.content))
            continue
        path.write_bytes(file.content)
        if file.is_executable:
            path.chmod(0o755)
        if path.suffix == ".py" and path.is_relative_to(packages / _NAME):
            store.put(path, file.content)
    store.tidy()


class _Bytecode:
    """Bytecode by the SHA-256 of its source. An entry's name holds its own digest too.

    Whoever can write here can read the signing key, which lies beside it: the digest is against
    damage, not against its user.
    """

    def __init__(self, place: Path) -> None:
        self._place = place / str(sys.implementation.cache_tag)
        private_directory(place)
        private_directory(self._place)
        names = (path.name for path in self._place.iterdir())
        self._entries = dict(name.split("-") for name in names if name.count("-") == 1)

    def put(self, source: Path, content: bytes) -> None:
        """Put bytecode beside a source file in the copy; nothing where it does not compile."""
        target = Path(importlib.util.cache_from_source(str(source)))
        target.parent.mkdir(exist_ok=True)
        key = hashlib.sha256(content).hexdigest()
        kept = self._read(key)
        if kept is not None:
            target.write_bytes(kept)
            return
        try:
            py_compile.compile(
                str(source),
                cfile=str(target),
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except py_compile.PyCompileError:
            return  # its import will say why
        self._keep(key, target.read_bytes())

    def _read(self, key: str) -> bytes | None:
        own = self._entries.get(key)
        if own is None:
            return None
        try:
            data = (self._place / f"{key}-{own}").read_bytes()
        except OSError:
            return None
        return data if hashlib.sha256(data).hexdigest() == own else None

    def _keep(self, key: str, data: bytes) -> None:
        unnamed = self._place / f".{os.getpid()}.{key}"
        unnamed.write_bytes(data)
        unnamed.rename(self._place / f"{key}-{hashlib.sha256(data).hexdigest()}")

    def tidy(self) -> None:
        """Start anew where entries of many versions have come together."""
        if len(self._entries) > _KEPT_ENTRIES:
            for path in self._place.iterdir():
                path.unlink(missing_ok=True)
