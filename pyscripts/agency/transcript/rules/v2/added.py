"""Rules of the probes that v1 does not know: for each, the shape of its evidence and its rule."""

from __future__ import annotations

from agency.transcript.rules.v1.rule import ProbeRule
from agency.transcript.rules.v2 import shop

RULES: tuple[ProbeRule, ...] = (*shop.RULES,)
