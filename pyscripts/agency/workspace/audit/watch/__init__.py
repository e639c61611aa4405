"""Watching the agents' audit logs: numbers for Prometheus, from a reader apart from the writer.

logs ─▶ following: new records, each checked against the kept head ─▶ tallies ─┐
/proc ─▶ programs of agents that are not usual ────────────────────────────────┼─▶ numbers
state: head and counts of each agent, kept outside the logs ◀──────────────────┘
"""
