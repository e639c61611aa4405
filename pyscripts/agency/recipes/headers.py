"""Headers of an answer, found by their names in any case: proxies change it, as HTTP allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping


class Headers(Mapping[str, str]):
    """Headers by name, in any case; of one that comes twice, the values joined by a comma."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._found: dict[str, tuple[str, str]] = {}
        for name, value in pairs:
            before = self._found.get(name.lower())
            joined = f"{before[1]}, {value}" if before else value
            self._found[name.lower()] = (name, joined)

    def __getitem__(self, name: str) -> str:
        return self._found[name.lower()][1]

    def __iter__(self) -> Iterator[str]:
        return iter(name for name, _ in self._found.values())

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return repr(dict(self))
