"""The life of a command: admitted in order, run in turn, answered where it came from.

      inbox (Matrix events)     propose(): CLI, HTTP, reconciler
                │                        │
                ▼                        ▼
      ┌──────────────── admission ────────────────┐   serial, in order, no waiting:
      │ classify ─▶ parse ─▶ policy.decide        │   is it a command, may this actor
      └──┬──────────┬───────────────┬──────────┬──┘
         │ no       │ a look        │ a change │ needs an approval
         │          │               ▼          ▼
         │          │          granted ◀── waiting ──(deadline)──▶ expired
         │          │               │  grant()
         │          │               ▼
         │          │        queue of its target      bounded; full: refused
         │          │               │ its turn
         │          │               ▼
         │          │            running              one transaction with the audit row
         │          │               │                 `accepted`; approvals are spent
         │          ▼               ▼
         │       handler         handler ───────────▶ steps ─▶ status card, if it takes long
         │          │               │
         ▼          ▼               ▼
      ┌──────────────── recorder ─────────────────┐   one transaction: state, inventory,
      │ operation + audit + reply + inbox done    │   audit row, reply
      └─────────────────────┬─────────────────────┘
                            ▼
      outbox (Matrix thread)  or  the operation's row (CLI, HTTP, reconciler)

A look is a command that changes nothing: it may run again after a crash, and is put on record when
it ends. A change that had not begun when the control plane ended is run by the next start. A change
that was running then is never run again: its target is brought to the wish on record, and its reply
says what is seen then. A command whose message is deleted before it begins is withdrawn, and does
not run. Messages of people who may not command have a lane behind all others.

`Operations` is the interface for the rest of the control plane; an `Origin` says where a command
came from.
"""

from __future__ import annotations

from agency.control.operation import Operation, Origin, OriginKind, State
from agency.control.operations.proposals import Tell
from agency.control.operations.running.interrupted import standing
from agency.control.operations.running.targets import Targets
from agency.control.operations.service import Operations

__all__ = [
    "Operation",
    "Operations",
    "Origin",
    "OriginKind",
    "State",
    "Targets",
    "Tell",
    "standing",
]
