"""Public names of `agency.coopcloud`; other packages import these and nothing else."""

from .abra import Abra as Abra
from .abra import find_abra as find_abra
from .apps import AbraError as AbraError
from .apps import AbraHome as AbraHome
from .recipe import Recipe as Recipe
from .recipe import stack_name as stack_name
from .remains import Remain as Remain
from .remains import remains as remains
from .remains import remove_stack as remove_stack
from .stack import INPUTS as INPUTS
from .stack import NAMESPACE as NAMESPACE
from .stack import SERVICES as SERVICES
from .stack import SPEC as SPEC
from .stack import Service as Service
from .stack import Stack as Stack
from .stack import StackError as StackError
from .stack import spec_digest as spec_digest
