"""Tasks of an agent: its list, what comes into it, what is next, and the loop that does it.

    SCHEDULES.yaml ─┐ due                              ┌─▶ performer ─▶ outcome
    forge issues ───┴─────▶ TASKS.yaml ─▶ next (pure) ─┤                   │
    people, the agent ────▶      ▲                     └─▶ journal ◀───────┘
                                 └──── what the journal says ──┘

The journal is the truth about what was done, since the agent may change, revert or lose TASKS.yaml
in any way. A task that was done, or whose outcome is unknown, is not done again unless a person
says so.
"""
