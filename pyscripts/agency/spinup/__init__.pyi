"""Public names of `agency.spinup`; other packages import these and nothing else."""

from .targets.local.verbs import observe_local_agency as observe_local_agency
