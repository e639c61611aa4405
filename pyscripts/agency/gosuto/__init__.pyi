"""Public names of `agency.gosuto`; other packages import these and nothing else."""

from .changing import Change as Change
from .changing import compare as compare
from .changing import edit as edit
from .decision import MAX_ARGUMENTS as MAX_ARGUMENTS
from .decision import Answer as Answer
from .decision import Decision as Decision
from .decision import Finding as Finding
from .decision import decide as decide
from .decision import findings as findings
from .decision import may_be_called as may_be_called
from .decision import read_arguments as read_arguments
from .document import MAX_BYTES as MAX_BYTES
from .document import GosutoError as GosutoError
from .document import as_yaml as as_yaml
from .document import canonical as canonical
from .document import read_canonical as read_canonical
from .document import read_document as read_document
from .document import sha256 as sha256
from .enforcement import unenforced as unenforced
from .model import Document as Document
from .model import McpServer as McpServer
from .template import Template as Template
from .template import load_template as load_template
from .template import template_names as template_names
from .values import TOOL as TOOL
from .values import Schedule as Schedule
