"""Programs of an agent: command-line coding agents that a team already uses.

    settings ─▶ renderer of that agent (pure) ─▶ launch: files, argv, environment ─▶ writing, start
                                                      │
    its model calls  ─▶ metering proxy                │ tokens by reference, or 0600
    its tool calls   ─▶ tool gateway (MCP)            ▼
    its own tools    ─▶ off, or within uid and workspace

To add an agent, add one module to `agents/` with its `AGENT`.
"""
