"""Public names of `agency.transcript`; other packages import these and nothing else."""

from .problems import explain as explain
from .rules.v1.services import ALWAYS_ENDING as ALWAYS_ENDING
from .rules.v1.services import ALWAYS_RUNNING as ALWAYS_RUNNING
from .rules.v1.services import CONTROL_UNIT as CONTROL_UNIT
from .rules.v1.services import FIREWALL_UNIT as FIREWALL_UNIT
from .rules.v1.services import HOMESERVER_UNIT as HOMESERVER_UNIT
from .rules.v1.services import SERVICES as SERVICES
from .rules.v2.judge import PROBES as PROBES
from .rules.v2.judge import STEPS as STEPS
from .rules.v2.judge import gate as gate
from .rules.v2.judge import overall as overall
from .rules.v2.model import PREDICATE_TYPE as PREDICATE_TYPE
from .rules.v2.model import STATEMENT_TYPE as STATEMENT_TYPE
from .rules.v2.model import Predicate as Predicate
from .rules.v2.model import Statement as Statement
from .rules.v2.subjects import SYSTEM as SYSTEM
from .rules.v2.subjects import system_digest as system_digest
from .signing import load_key as load_key
from .signing import load_or_create_key as load_or_create_key
from .signing import public_pem as public_pem
from .signing import sign as sign
from .verification import Report as Report
from .verification import read_unchecked as read_unchecked
from .verification import verify as verify
