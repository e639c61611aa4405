"""Public names of `agency.control`; other packages import these and nothing else."""

from .config import AgentEntry as AgentEntry
from .config import Api as Api
from .config import ControlConfig as ControlConfig
from .config import load_config as load_config
from .entrance.place import local_socket as local_socket
from .entrance.place import place_of as place_of
from .login import Login as Login
from .login import default_login_file as default_login_file
from .login import write_login as write_login
from .runtimes.beside.settings import ModelSettings as ModelSettings
from .runtimes.beside.settings import ProgramSettings as ProgramSettings
from .runtimes.beside.writing import policy_file as policy_file
from .runtimes.beside.writing import token_digest as token_digest
from .runtimes.process import token_file as token_file
from .store.chain import AuditRow as AuditRow
from .store.chain import ChainReport as ChainReport
from .store.chain import verify_chain as verify_chain
from .store.reading import verify_database as verify_database
from .store.schema import SCHEMA as SCHEMA
