"""Making an agency from nothing, observing it, and signing what was seen.

The launcher imports this package before it has any library, so it loads with the standard library.
"""

from __future__ import annotations


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    import lazy_loader

    found, _, _ = lazy_loader.attach_stub(__name__, __file__)
    return found(name)
