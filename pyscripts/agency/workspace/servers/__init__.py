"""MCP servers of the agency's own, for an agent's gateway to start: coding, and the forge.

gateway ── standard streams ──┬─▶ coding: files, checks and commits in one repository; no token
   each call decided          └─▶ forge: issues and one project's branches; holds the forge's token

They are two because checks run what an agent wrote: no token is within the reach of that process.
"""
