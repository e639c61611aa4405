"""Programs of an agent: the builtin one, a loop between a model and tools.

task ─▶ journal ─▶ steps (pure): what next? ─┬─▶ model, through the proxy ─▶ answer ─┐
           ▲                                 ├─▶ tool, through the gateway ─▶ result ─┤
           │                                 └─▶ end                                  │
           └──────────────── every event, on disk before the next step ◀─────────────┘
"""
