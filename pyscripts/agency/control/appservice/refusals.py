"""Refusals of the HTTP interface: each is counted, logged at a bounded rate, and seen in `/ready`.

A homeserver whose transaction was refused sends it again and again, and nothing after it: until it
is taken, no command gets through.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from agency.control.conditions import Code, Conditions
from agency.web import QuietLog

_log = logging.getLogger(__name__)


class Refused(StrEnum):
    """Kinds of refusals; the labels of a metric, so their number is bounded."""

    MALFORMED = "malformed"  # 400
    TOKEN = "token"  # noqa: S105 - 401, 403, a kind of refusal
    UNKNOWN = "unknown"  # 404, 405
    SLOW = "slow"  # 408
    TOO_LARGE = "too-large"  # 413
    HOST = "host"  # 421
    HEADERS = "headers"  # 431
    INTERNAL = "internal"  # 500
    BUSY = "busy"  # 503
    OTHER = "other"


_KINDS = {
    400: Refused.MALFORMED,
    401: Refused.TOKEN,
    403: Refused.TOKEN,
    404: Refused.UNKNOWN,
    405: Refused.UNKNOWN,
    408: Refused.SLOW,
    413: Refused.TOO_LARGE,
    421: Refused.HOST,
    431: Refused.HEADERS,
    500: Refused.INTERNAL,
    503: Refused.BUSY,
}
_HINTS = {
    Refused.TOO_LARGE: "raise limits.max_transaction_bytes of the control plane",
    Refused.MALFORMED: "look for what stands between the homeserver and the control plane",
    Refused.BUSY: "look at `agency status` and the control plane's log for what it waits for",
    Refused.INTERNAL: "the control plane's log has the error",
}


@dataclass(slots=True)
class Refusals:
    """Refusals since the start, and whether the homeserver's last transaction was one."""

    conditions: Conditions
    counts: Counter[Refused] = field(default_factory=Counter)
    _quiet: QuietLog = field(default_factory=lambda: QuietLog(_log))

    def refused(self, status: int, *, size: int | None, transaction: bool) -> None:
        """Note a refusal; `transaction` says that it was one, and carried the right token."""
        kind = _KINDS.get(status, Refused.OTHER)
        self.counts[kind] += 1
        what = "a transaction of the homeserver" if transaction else "a request"
        fields = {"status": status, "bytes": size}
        self._quiet.warning(f"{kind}-{transaction}", "refused %s: %s", what, kind, fields=fields)
        if transaction:
            self.conditions.note(
                Code.TRANSACTION_REFUSED,
                f"the homeserver's last transaction was refused: HTTP {status}, {kind}; "
                "it sends nothing else until that is taken",
                hint=_HINTS.get(kind, "the control plane's log says more"),
                blocks=True,
            )

    def taken(self) -> None:
        """Note that the homeserver's last transaction was taken."""
        self.conditions.clear(Code.TRANSACTION_REFUSED)
