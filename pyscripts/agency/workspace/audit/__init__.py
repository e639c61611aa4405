"""The agents' audit log: one append-only, hash-chained file an agent, written by a root service.

The service takes a sender's identity from the kernel (SO_PEERCRED). docs/workspace-audit.md says
what the log holds and what it does not protect against.
"""
