"""Public names of `agency.workspace`; other packages import these and nothing else."""

from .audit.storage.flags import protect as protect
from .scaffold.files import DIRECTORIES as DIRECTORIES
from .scaffold.files import Identity as Identity
from .scaffold.files import files as files
from .scaffold.repository import Repository as Repository
from .scaffold.repository import Signature as Signature
from .tasks.cron import due_times as due_times
from .tasks.cron import parse_cron as parse_cron
