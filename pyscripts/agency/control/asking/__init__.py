"""Approvals that agents ask for: calls of tools under `ask`, and servers that were cut off.

    follower ── GET /v1/approvals ──▶ plan ──▶ store, audit log, prompt in a room
                                                        │
       reaction, `approve ask-...`, `deny ask-...` ─────┘
                      ▼
    desk: may they? ──▶ decision on record ──▶ delivery ── POST …/decision ──▶ agent
                                                  └──▶ audit log; edit of the prompt, its thread

All is in the store. A decision on record is sent until the agent answers, with one idempotency key,
so that an end of either side loses and repeats none. The agent's gateway checks it again.
"""
