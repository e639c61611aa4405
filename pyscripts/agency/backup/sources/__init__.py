"""Sources of a backup: SQLite stores, PostgreSQL databases, trees of files."""
