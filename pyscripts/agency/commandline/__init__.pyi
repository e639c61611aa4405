"""Public names of `agency.commandline`; other packages import these and nothing else."""

from .collecting import leave as leave
from .collecting import uncollected as uncollected
from .logs import LogLevel as LogLevel
from .logs import log_context as log_context
from .logs import log_to_stderr as log_to_stderr
from .logs import set_log_level as set_log_level
from .main import run as run
from .output import console as console
from .output import emit as emit
from .output import json_option as json_option
from .unwritten import add_unwritten as add_unwritten
from .version import versions as versions
