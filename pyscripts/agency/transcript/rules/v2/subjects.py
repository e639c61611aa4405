"""Comparison of a transcript's subjects with its evidence: that of v1."""

from __future__ import annotations

from agency.transcript.rules.v1.subjects import SYSTEM, broken_subjects, system_digest

__all__ = ["SYSTEM", "broken_subjects", "system_digest"]
