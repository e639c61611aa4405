"""GitLab: the administrator's calls, and the contract of a forge over the same client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agency.lazy import lazy_names

if TYPE_CHECKING:
    from agency.forge.gitlab.api import GitlabApi, GitlabError, logged_in
    from agency.forge.gitlab.forge import GitlabForge, gitlab_forge

__all__ = ["GitlabApi", "GitlabError", "GitlabForge", "gitlab_forge", "logged_in"]

__getattr__ = lazy_names(
    __name__,
    {
        "GitlabApi": "api",
        "GitlabError": "api",
        "GitlabForge": "forge",
        "gitlab_forge": "forge",
        "logged_in": "api",
    },
)
