"""Backup and restore of what is not in git, on restic.

    settings ─▶ plan ─▶ create: sources ─▶ staging ─┐
                                trees ──────────────┴─▶ restic: one snapshot, with a manifest
                        verify ◀─ manifest, dumps ◀───────┤
                        restoring ◀───────────────────────┘

Stores and databases are copied online, each as of one moment, before restic reads the trees.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
