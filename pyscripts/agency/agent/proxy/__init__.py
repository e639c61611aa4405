"""Metering proxy: the one way of a machine's agents to language models.

    program ── its token ──▶ identity ▶ gate (rate, concurrency) ▶ plan (model, limits, redaction)
                                                                     │
      ledger (SQLite): reserve ◀── the most that the call can cost ──┘
                         │
                         ▼
      provider ◀── the provider's key, fields and headers that may pass
         │
         └─▶ events, each as it comes ─▶ meter ─▶ program         ledger: settle ─▶ metrics, audit

A call is reserved on disk before it leaves. What is not settled counts whole.
"""
