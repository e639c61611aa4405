"""Public names of `agency.protocols`; other packages import these and nothing else."""

from .acp import HEALTH_PATH as HEALTH_PATH
from .acp import MAX_BODY as MAX_BODY
from .acp import STATUS_PATH as STATUS_PATH
from .acp import TOKEN_CREDENTIAL as TOKEN_CREDENTIAL
from .acp import TRACE_HEADER as TRACE_HEADER
from .acp import AgentConfig as AgentConfig
from .acp import Health as Health
from .acp import Problem as Problem
from .acp import Status as Status
from .acp import is_trace as is_trace
from .audit_socket import MAX_LINE as MAX_LINE
from .audit_socket import SOCKET as SOCKET
from .audit_socket import AuditAbsentError as AuditAbsentError
from .audit_socket import AuditClient as AuditClient
from .audit_socket import AuditUnreachableError as AuditUnreachableError
from .audit_socket import Receipt as Receipt
from .readiness import READY_PATH as READY_PATH
from .readiness import ReadyReport as ReadyReport
from .readiness import as_report as as_report
from .reply import REPLY_KEY as REPLY_KEY
from .reply import Reply as Reply
from .reply import as_reply as as_reply
