"""Making of an engine of others, from the configuration and its token."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from agency.errors import BadInputError
from agency.recipes.configuration import RecipesConfig
from agency.recipes.engine.remote.api import Api
from agency.recipes.engine.remote.base import Remote
from agency.recipes.engine.remote.drone import DroneEngine
from agency.recipes.engine.remote.gitea import GiteaEngine
from agency.recipes.engine.remote.woodpecker import WoodpeckerEngine
from agency.secrets import SecretValue, read_credential

_KINDS: dict[str, Callable[..., Remote]] = {
    "drone": DroneEngine,
    "woodpecker": WoodpeckerEngine,
    "gitea-actions": GiteaEngine,
}


def make_remote(
    config: RecipesConfig, janitor: Callable[[], None]
) -> DroneEngine | WoodpeckerEngine | GiteaEngine:
    """Make the engine; its token is a credential.

    Raises:
        BadInputError: the configuration does not say where the engine is.
        PrerequisiteError: there is no token.
    """
    if config.engine_at is None:
        raise BadInputError(f"the engine {config.engine} needs its address", where="engineAt")
    token = read_credential(config.engine_at.credential)
    session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
    api = Api(config.engine_at.url.rstrip("/"), _headers(config.engine, token), session)
    made = _KINDS[config.engine](api=api, settings=config.engine_at, janitor=janitor)
    assert isinstance(made, DroneEngine | WoodpeckerEngine | GiteaEngine)
    return made


def _headers(engine: str, token: SecretValue) -> dict[str, str]:
    kind = "token" if engine == "gitea-actions" else "Bearer"
    return {"Authorization": f"{kind} {token.reveal()}"}
