"""Public names of `agency.workspace`; other packages import these and nothing else."""

from .audit.storage.flags import protect as protect
