"""Trial of an agent in a terminal: everything real but the rooms, and nothing kept.

person ─▶ terminal ─▶ builtin program ─▶ proxy ─▶ scripted model, or a real one
             ▲              └─▶ gateway ─▶ MCP servers of the Gosuto
             └── asked ◀────────────┘
"""
