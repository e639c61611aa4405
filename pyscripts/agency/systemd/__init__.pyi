"""Public names of `agency.systemd`; other packages import these and nothing else."""

from . import journal as journal
from .connection import Connection as Connection
from .errors import JournalError as JournalError
from .errors import SystemdError as SystemdError
from .service import ServiceProperties as ServiceProperties
from .service import UnitState as UnitState
from .service import about_to_restart as about_to_restart
from .service import may_have_process as may_have_process
from .units import Units as Units
from .units import connected as connected
