"""Public names of `agency.coopcloud`; other packages import these and nothing else."""

from .abra import Abra as Abra
from .abra import find_abra as find_abra
from .recipe import Recipe as Recipe
from .recipe import stack_name as stack_name
from .stack import INPUTS as INPUTS
from .stack import NAMESPACE as NAMESPACE
from .stack import SERVICES as SERVICES
from .stack import SPEC as SPEC
from .stack import Service as Service
from .stack import Stack as Stack
from .stack import StackError as StackError
from .stack import spec_digest as spec_digest
