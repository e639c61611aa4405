"""opencode (MIT, npm: opencode-ai). Its tokens are read from their files, by reference.

Sources: https://opencode.ai/docs/config/, /docs/permissions/, /docs/mcp-servers/, /docs/cli/.
"""

from __future__ import annotations

import json

from agency.agent.programs.command.launching import (
    SERVER,
    Agent,
    Launch,
    OwnTools,
    RenderedFile,
    Settings,
    directory_of,
)

# The last rule that fits decides.
_PERMISSIONS = {
    OwnTools.OFF: {"*": "deny", f"{SERVER}_*": "allow"},
    OwnTools.CONFINED: {
        "*": "allow",
        "external_directory": "deny",
        # Without a ripgrep on PATH these two fetch one; the shell can search.
        "glob": "deny",
        "grep": "deny",
        "webfetch": "deny",
        "websearch": "deny",
        "codesearch": "deny",
        "question": "deny",
    },
}
# A repository must not bring configuration or plugins: both are programs. Nothing is fetched.
_DISABLED = (
    "AUTOUPDATE",
    "CLAUDE_CODE",
    "DEFAULT_PLUGINS",
    "EXTERNAL_SKILLS",
    "LSP_DOWNLOAD",
    "MODELS_FETCH",
    "PROJECT_CONFIG",
    "SHARE",
)


def render(settings: Settings) -> Launch:
    """Render opencode's configuration and start. Pure."""
    path = settings.state / "agency-opencode.json"
    environment = {
        "OPENCODE_CONFIG": str(path),
        **{f"OPENCODE_DISABLE_{name}": "1" for name in _DISABLED},
        # It would fetch the library of its plugins, by npm's code, which reads this.
        "npm_config_offline": "true",
    }
    argv = ("run", "--pure", "--format", "json", "--title", "task")
    file = RenderedFile(path, json.dumps(_configuration(settings), indent=2) + "\n")
    return Launch((file,), argv, directory_of(settings), environment)


def _configuration(settings: Settings) -> dict[str, object]:
    model = f"{SERVER}/{settings.model}"
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": SERVER,
        "options": {
            "baseURL": settings.model_url,
            "apiKey": f"{{file:{settings.model_token}}}",
        },
        "models": {settings.model: {"name": settings.model}},
    }
    server = {
        "type": "remote",
        "url": settings.gateway_url,
        "enabled": True,
        "oauth": False,
        "headers": {"Authorization": f"Bearer {{file:{settings.gateway_token}}}"},
    }
    return {
        "$schema": "https://opencode.ai/config.json",
        "model": model,
        "small_model": model,
        "enabled_providers": [SERVER],
        "provider": {SERVER: provider},
        "mcp": {SERVER: server},
        "permission": _PERMISSIONS[settings.own_tools],
        "share": "disabled",
        "autoupdate": False,
        "snapshot": False,
        "lsp": False,
        "formatter": False,
    }


def answer(output: str) -> str:
    """Read the text of its last step: its output is an event a line."""
    said: list[str] = []
    for line in output.splitlines():
        event = json.loads(line)
        if event["type"] == "step_start":
            said.clear()
        elif event["type"] == "text":
            said.append(str(event["part"]["text"]))
    if not said:
        raise ValueError("its last step has no text")
    return "\n".join(said)


# Plugins in this directory are loaded even where its settings forbid the project's configuration.
AGENT = Agent(
    "opencode", "1.18.33", f"{SERVER}_{{tool}}", render, answer, runs_unasked=(".opencode",)
)
