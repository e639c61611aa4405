"""MCP servers of an agent: started, watched, cut off when what they offer changes."""
