"""Public names of `agency.reconcile`; other packages import these and nothing else."""

from .engine.contract import ABSENT as ABSENT
from .engine.contract import Change as Change
from .engine.contract import Settings as Settings
