"""Public names of `agency.instance`; other packages import these and nothing else."""

from .check import default_directory as default_directory
from .check import examine as examine
from .documents import ProxyPlace as ProxyPlace
from .documents import decision_settings as decision_settings
from .documents import proxy_document as proxy_document
from .editing.rewriting import InstanceEdit as InstanceEdit
from .editing.rewriting import plan_recipe as plan_recipe
from .fields.letters import holds_password as holds_password
from .fields.letters import sends_in_clear as sends_in_clear
from .load import INSTANCE_FILE as INSTANCE_FILE
from .load import LoadedInstance as LoadedInstance
from .load import instance_file as instance_file
from .load import load_instance as load_instance
from .model import Instance as Instance
from .model import ResolvedAgent as ResolvedAgent
from .needs import model_key as model_key
from .needs import required_secrets as required_secrets
from .render import check_rendered as check_rendered
from .render import registration as registration
from .render import rendered_files as rendered_files
from .render import write_rendered as write_rendered
from .secret_commands.common import diagnose_secrets as diagnose_secrets
from .secret_provider import open_provider as open_provider
from .secret_provider import sops_provider as sops_provider
