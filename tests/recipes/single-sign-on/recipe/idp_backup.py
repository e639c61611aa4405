"""Copy of the people's database for a backup, and back: SQLite copies it while it is in use."""

import sqlite3
import sys

PLACES = {
    "backup": ("/data/people.db", "/data/backup.db"),
    "restore": ("/data/backup.db", "/data/people.db"),
}
source, target = PLACES[sys.argv[1]]
with sqlite3.connect(source) as one, sqlite3.connect(target) as other:
    one.backup(other)
