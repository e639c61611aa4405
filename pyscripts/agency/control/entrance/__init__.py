"""Entrance for commands that come from no room.

    agency command ── unix socket ──▶ listener ──┐  who: SO_PEERCRED
                                                 ├──▶ enter() ──▶ operations.ask()
    HTTP interface, later ───────────────────────┘  grammar, age, audit of what is refused

They have the room's grammar, policy, queues, audit log and rule for crashes. The answer is kept in
the operation's row: who asks again with the same id gets it, and nothing runs twice.
"""
