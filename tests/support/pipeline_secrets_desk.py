"""The reconciler of a pipeline's secrets with its credentials, at any engine of others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from agency.recipes.engine.remote.secrets import PipelineSecretsSettings, opened
from agency.reconcile.engine.engine import Engine, Report


@dataclass
class Desk:
    """Credentials and configuration of recipe CI, in a directory of the test's own."""

    place: Path

    def set_up(self, engine: str, url: str, repository: str, token: str) -> None:
        """Write what NixOS would, and the engine's token."""
        (self.place / "credentials").mkdir(mode=0o700)
        self.put("ci-engine-token", token)
        config = {
            "domain": "example.org",
            "engine": engine,
            "maxTests": 1,
            "buildTimeoutMinutes": 60,
            "recipes": {},
            "forge": {"kind": "gitea", "url": "https://forge.example.org"},
            "hosts": {"bridge": "hook.example.org", "dashboard": "ci.example.org"},
            "ports": {"bridge": 8100, "dashboard": 8101},
            "wildcard": "*.ci.example.org",
            "state": str(self.place),
            "engineAt": {"url": url, "repository": repository},
        }
        (self.place / "recipes.json").write_text(json.dumps(config))

    @property
    def credentials(self) -> Path:
        """Directory of the credentials."""
        return self.place / "credentials"

    def put(self, name: str, value: str) -> None:
        """Put a credential in place."""
        (self.credentials / name).write_text(value)

    async def converge(self, *, check: bool = False, **secrets: str) -> Report:
        """Run it; `secrets` are credentials by their names at the engine."""
        settings = PipelineSecretsSettings(secrets=secrets, recipes=self.place / "recipes.json")
        async with opened(settings) as reconciler:
            engine = Engine("pipeline-secrets", reconciler, self.place / "lock")
            return await engine.run(check=check)
