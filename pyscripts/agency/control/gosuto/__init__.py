"""Changes of agents' Gosuto: planned on a version, approved as planned, delivered by ACP.

command ─▶ plan(connection) ─▶ prompt with the difference ─▶ approval of the plan's basis
                │                                                    │
                │ the same again, when its turn comes                ▼
                └────────────────────────────────────▶ is the basis what it was?
                                                          │ no: refused   │ yes
                                                                          ▼
                                                   new version, in the result's transaction
"""
