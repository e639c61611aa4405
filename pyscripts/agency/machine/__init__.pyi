"""Public names of `agency.machine`; other packages import these and nothing else."""

from . import units as units
from .completed import Completed as Completed
from .digests import digests_from as digests_from
from .digests import read_digests as read_digests
from .machine import LOOK_S as LOOK_S
from .machine import MAX_LINE as MAX_LINE
from .machine import Dialogue as Dialogue
from .machine import Machine as Machine
from .machine import MachineError as MachineError
from .machine import run as run
from .machine import succeeded as succeeded
from .process import MAX_OUTPUT as MAX_OUTPUT
from .ssh.machine import SshMachine as SshMachine
from .ssh.machine import connected as connected
from .ssh.settings import check_destination as check_destination
from .ssh.settings import read_options as read_options
from .units import Unit as Unit
