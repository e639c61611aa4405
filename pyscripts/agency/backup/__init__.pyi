"""Public names of `agency.backup`; other packages import these and nothing else."""

from .create import Created as Created
from .create import create_backup as create_backup
from .restoring.evidence import restored_evidence as restored_evidence
from .restoring.in_place import Restored as Restored
from .restoring.in_place import restore_in_place as restore_in_place
from .settings import SETTINGS_FILE as SETTINGS_FILE
from .settings import BackupSettings as BackupSettings
from .settings import load_settings as load_settings
from .state import last_success as last_success
