"""Vault: agents' secrets at rest, how their values come in, and how they are delivered.

    one-time form, standard input ──▶ Vault ──▶ store (AES-256-GCM, sealed register)
                                        │
    Delivery ── lease, without a value ─┼──▶ agent (ACP)
             ◀── redemption, with proof ┤
             ── the values, once ───────┴──▶ agent, in memory

The control plane begins each delivery, so there is nothing that an agent could ask for a secret.
"""
