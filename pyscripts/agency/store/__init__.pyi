"""Public names of `agency.store`; other packages import these and nothing else."""

from .damage import check_whole as check_whole
from .database import Database as Database
from .database import open_database as open_database
from .database import parse_url as parse_url
from .database import sqlite_path as sqlite_path
from .holding import Hold as Hold
from .holding import Holder as Holder
from .holding import hold as hold
from .migration import Schema as Schema
from .migration import migrate as migrate
