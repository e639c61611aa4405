"""MCP configuration of an agent's programs: one server, the agent's gateway."""
