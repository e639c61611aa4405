"""Public names of `agency.web`; other packages import these and nothing else."""

from .app import CONNECTIONS as CONNECTIONS
from .app import Limits as Limits
from .app import Refuse as Refuse
from .app import http_log as http_log
from .app import lift_answer_limit as lift_answer_limit
from .app import listen as listen
from .app import make_app as make_app
from .app import make_runner as make_runner
from .connections import BoundedSite as BoundedSite
from .connections import Bounds as Bounds
from .connections import Connections as Connections
from .connections import Counts as Counts
from .events import Broadcast as Broadcast
from .events import Event as Event
from .events import send_events as send_events
from .keys import request_key as request_key
from .login import Session as Session
from .login import Sessions as Sessions
from .login import carries_bearer as carries_bearer
from .login import drop_cookie as drop_cookie
from .login import set_cookie as set_cookie
from .quiet import QuietLog as QuietLog
from .refusals import as_json as as_json
from .refusals import as_wanted as as_wanted
from .relayed import RelayedProtocol as RelayedProtocol
