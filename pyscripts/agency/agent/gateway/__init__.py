"""Tool gateway of an agent: a process of its own between the agent's program and its tools.

    program ── MCP, streamable HTTP, token ──▶ front ──┐
    ACP process ── control socket, other token ──▶ control ──▶ Dispatcher.call
                                                                 │ judge: policy, name, schema
                                                                 │ ask: approval, within its TTL
                                                                 │ audit before and after
                                                                 ▼
                                            Servers ── MCP, stdio or HTTP ──▶ tools

`calls/` decides, asks, records and bounds; `servers/` starts and watches the agent's MCP servers.
There is one caller of a server's `tools/call`: `servers.connection`, for the dispatcher.
"""
