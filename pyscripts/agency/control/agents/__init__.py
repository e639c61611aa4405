"""The inventory of agents while the control plane runs, and the loop that keeps it true.

every N seconds, or wake()
      │
      ▼
records in the store ─▶ Lifecycle.survey ─▶ plan, for each agent ─┬─▶ one transaction: history,
  what is wished         what is observed     pure (planning)     │   audit rows, a notice
                                                                  └─▶ operations, each in the
                                                                      queue of its agent
"""

from __future__ import annotations
