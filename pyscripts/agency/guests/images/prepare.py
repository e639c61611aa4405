"""Everything that a guest is made of, ready and held."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from agency.canonical import sha256_hex
from agency.guests.images.image import Image, hold_image
from agency.guests.images.provider import ProviderPack, hold_provider
from agency.guests.images.recipe import ImageRecipe
from agency.guests.images.wheelhouse import Ingredients, Libraries, hold_libraries
from agency.source_digest import source_digest


@dataclass(frozen=True, slots=True)
class Materials:
    """An image with its libraries, the checkout to install, and the provider to log in through."""

    recipe: ImageRecipe
    image: Image
    libraries: Libraries
    source: Path
    provider: ProviderPack

    def python_digest(self) -> str:
        """Digest all Python that is installed: the libraries and the source."""
        own = source_digest(self.source).sha256
        return sha256_hex(f"{self.libraries.digest} {own}".encode())


@contextlib.asynccontextmanager
async def hold_materials(
    base: Path, recipe: ImageRecipe, *, requirements: Path, source: Path, marker: str
) -> AsyncIterator[Materials]:
    """Image, libraries and provider, each made where it is missing; all stay while this is held.

    `base` is where they are kept, `requirements` pins others' packages with hashes, `source` is
    the checkout that is installed, `marker` names the run.

    Raises:
        PrerequisiteError: rights, programs, files or disk space are missing.
        BuildError: something cannot be built; its `log_tail` says why.
    """
    ingredients = Ingredients(requirements, recipe)
    async with (
        hold_libraries(base, ingredients, marker=marker) as libraries,
        hold_provider(base, marker=marker) as provider,
        hold_image(base, recipe, libraries, marker=marker) as image,
    ):
        yield Materials(recipe, image, libraries, source, provider)
