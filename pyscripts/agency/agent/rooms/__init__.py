"""Matrix inside an agent: its own account answers people in rooms, and other agents.

timers ─▶ due (pure) ─▶ inbox, like a message; its answer is said in trust.adminRoom
/sync ─▶ judge (pure) ─▶ inbox, on disk with the sync's token ─▶ one task a thread, some at once
                                                                   │ typing, progress as edits
thread ◀─ one reply, by a transaction id of its event ◀─ answer, on disk ◀─ program
"""
