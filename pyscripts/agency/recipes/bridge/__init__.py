"""Comment bridge: a comment on a pull request orders a run, and the forge is told how it goes.

forge ─ comments ─▶ look ─▶ judge ─┬─▶ memory + record (one transaction) ─▶ engine
  ▲                  ▲             └─▶ reply
  │   hook, timer ───┘                   │
  └──── comment, commit status ◀── tell ◀┴── state of each run
"""
