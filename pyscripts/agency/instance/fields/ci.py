"""Recipe CI in instance.yaml: its engine, its recipes, and a forge that others run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from agency.instance.fields.values import Repository
from agency.settings import Written


class CiService(Written):
    """Recipe CI."""

    enable: bool = Field(default=False, description="run it")
    engine: Literal["builtin", "drone", "woodpecker", "gitea-actions"] = Field(
        default="builtin", description="the program that runs the tests"
    )
    max_tests: int = Field(default=2, ge=1, le=64, description="recipe runs at a time")


class ForeignForge(Written):
    """Forge that others run."""

    kind: Literal["gitea", "gitlab"] = Field(default="gitea", description="what it is")
    url: str = Field(
        pattern=r"^https://[a-z0-9.-]+(:[0-9]+)?$", description="where it is, without a path"
    )


class Recipe(Written):
    """A Co-op Cloud app under test."""

    repository: Repository = Field(description="owner/name on the forge")
