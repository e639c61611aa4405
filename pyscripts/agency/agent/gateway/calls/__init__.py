"""Calls of tools: judged, asked, recorded, made once, and their results bounded."""
