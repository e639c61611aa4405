"""Soak: the real parts for a long time, ended and paused at random, and each answer judged.

plan ──▶ driver ────▶ Synapse ◀──▶ control plane ──▶ agents     by outside interfaces alone:
         strangers ──▶    ▲             ▲                ▲       client API, processes, audit CLI
         chaos ───────────┴─────────────┴────────────────┘
             └──▶ journal ──▶ model, verdict ──▶ a line of results, or a list of faults

`python -m soak --help` says how to run it. The same seed gives the same plan; what meets what is up
to the machine.
"""
