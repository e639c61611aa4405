"""Public names of `agency.matrix`; other packages import these and nothing else."""

from .backoff import LONGEST_S as LONGEST_S
from .backoff import Backoff as Backoff
from .control_room import ControlRoom as ControlRoom
from .control_room import RoomPlan as RoomPlan
from .errors import AnswerError as AnswerError
from .errors import MatrixError as MatrixError
from .errors import NoReplyError as NoReplyError
from .findings import Finding as Finding
from .findings import Lack as Lack
from .findings import RoomLostError as RoomLostError
from .findings import RoomState as RoomState
from .paths import client_path as client_path
from .person import Patience as Patience
from .person import Person as Person
from .registration import REGISTRATION_PATH as REGISTRATION_PATH
from .registration import register as register
from .registration import registration_body as registration_body
from .rooms import lists_creator as lists_creator
from .rooms import localpart as localpart
from .rooms import power_levels as power_levels
from .session import MatrixSession as MatrixSession
from .session import client_session as client_session
from .state.silence import Silence as Silence
from .state.snapshot import TELLING as TELLING
