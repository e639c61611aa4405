"""Qwen Code (Apache-2.0, npm: @qwen-code/qwen-code; Node.js 22 or newer).

It runs in its bare mode, which reads no settings: what a repository brings (`.qwen/`, hooks, MCP
servers, QWEN.md) is not loaded. Its own list of MCP servers knows no references, so the gateway's
token is written into that file, 0600; the model's token is in its environment, as it takes it from
nowhere else.

Source: https://qwenlm.github.io/qwen-code-docs/en/ and the help of its command.
"""

from __future__ import annotations

import json

from agency.agent.programs.command.launching import (
    SERVER,
    TOKEN_MARK,
    Agent,
    Launch,
    OwnTools,
    RenderedFile,
    Settings,
    directory_of,
)

_FETCHING = ("web_fetch", "web_search", "image_gen", "ask_user_question")
# All that the version below has; it knows no rule for "all others".
_OWN = (
    *("agent", "artifact", "create_sub_session", "cron_create", "cron_delete", "cron_list"),
    *("display_image", "edit", "enter_plan_mode", "enter_worktree", "exec", "exit_plan_mode"),
    *("exit_worktree", "get_goal", "glob", "grep_search", "list_agents", "list_directory"),
    *("loop_wakeup", "lsp", "monitor", "notebook_edit", "propose_goal", "read_file"),
    *("read_mcp_resource", "record_artifact", "record_source", "report_findings"),
    *("request_shutdown", "run_shell_command", "save_memory", "send_message", "skill"),
    *("task_create", "task_list", "task_stop", "task_update", "team_create", "team_delete"),
    *("team_plan_approval", "todo_write", "tool_call", "tool_search", "update_goal", "workflow"),
    *("write_file", "zoom_image"),
)
_RULES = {
    OwnTools.OFF: ("default", (*_OWN, *_FETCHING)),
    OwnTools.CONFINED: ("yolo", _FETCHING),
}


def render(settings: Settings) -> Launch:
    """Render Qwen Code's list of MCP servers and its start. Pure."""
    servers = settings.state / "agency-qwen-mcp.json"
    approval, excluded = _RULES[settings.own_tools]
    argv = (
        *("--bare", "--auth-type", "openai", "--output-format", "json"),
        *("--approval-mode", approval, "--mcp-config", str(servers)),
        *("--exclude-tools", ",".join(excluded)),
    )
    environment = {
        "OPENAI_BASE_URL": settings.model_url,
        "OPENAI_MODEL": settings.model,
        "QWEN_USAGE_STATISTICS_ENABLED": "false",
        "QWEN_CODE_NO_RELAUNCH": "1",
        "NO_PROXY": "127.0.0.1,localhost,::1",
    }
    server = {
        "httpUrl": settings.gateway_url,
        "headers": {"Authorization": f"Bearer {TOKEN_MARK}"},
        "trust": True,  # each call is decided by the gateway; nobody is there to ask
    }
    content = json.dumps({"mcpServers": {SERVER: server}}, indent=2) + "\n"
    file = RenderedFile(servers, content, token=settings.gateway_token)
    tokens = {"OPENAI_API_KEY": settings.model_token}
    return Launch((file,), argv, directory_of(settings), environment, tokens)


def answer(output: str) -> str:
    """Read the result: its output is one list of events."""
    for event in json.loads(output):
        if event["type"] == "result":
            if event["is_error"]:
                raise ValueError(str(event.get("error", event["subtype"])))
            return str(event["result"])
    raise ValueError("it has no result")


AGENT = Agent("qwen-code", "0.24.4", f"mcp__{SERVER}__{{tool}}", render, answer)
