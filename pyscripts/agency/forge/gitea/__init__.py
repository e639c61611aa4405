"""Gitea behind the contract of a forge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agency.lazy import lazy_names

if TYPE_CHECKING:
    from agency.forge.gitea.client import GiteaForge, gitea_forge

__all__ = ["GiteaForge", "gitea_forge"]

__getattr__ = lazy_names(__name__, {"GiteaForge": "client", "gitea_forge": "client"})
