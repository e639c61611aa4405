"""Result of a program that ran on a machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Completed:
    """Exit status and output of a program; `truncated` if it wrote more than the limit."""

    exit_status: int
    stdout: bytes
    stderr: bytes
    truncated: bool
