"""Entrance for commands that come from no room.

    agency do, command ── unix socket ──▶ listener ──┐  who: SO_PEERCRED
                                                     ├──▶ enter(), submit() ──▶ operations
    agency do --url ──▶ HTTP interface (api/) ───────┘  grammar, reach, age, audit of refusals

They have the room's grammar, policy, queues, audit log and rule for crashes. The answer is kept in
the operation's row: who asks again with the same id gets it, and nothing runs twice.
"""
