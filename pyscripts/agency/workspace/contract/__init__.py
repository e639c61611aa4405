"""The coding contract: one task, one branch; commits, and nothing beyond.

    pre-flight ─▶ branch ─▶ the command, under the contract ─▶ breaches? ─▶ review ─▶ tidy exit
                              ▲                                               │
                              └──────────── what the review found ◀───────────┘

What holds the contract is that the command has no credentials: it reaches no remote. The hooks lie
where the agent cannot write and tell it so at once; git can be asked to run without them, so the
branches are compared afterwards all the same.
"""
