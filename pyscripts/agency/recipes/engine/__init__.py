"""Engine of recipe CI: it takes runs from the record, has them run, and records how they ended.

record ◀── take, place, end, requeue ── Runner ── start, state, cancel, find ──▶ Engine
                                          │                     builtin: a child process a run
   artifacts/<run>/result.json ──▶ judge ─┘                     drone, woodpecker, gitea-actions
                      ▲
                      └── `agency recipes run RUN`, whoever started it
"""
