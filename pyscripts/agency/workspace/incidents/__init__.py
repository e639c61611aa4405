"""Incidents: what went wrong and what was learned, of one agent, shared by all, told to people.

ISSUES.yaml ─▶ publish (the agent) ─▶ /var/lib/agency-incidents ─▶ known: context of each task
                                                   │
                                                   └─▶ escalate (its own user) ─▶ control room
"""
