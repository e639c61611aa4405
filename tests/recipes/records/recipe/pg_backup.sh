#!/bin/sh
set -e
file=/var/lib/postgresql/data/backup.sql
case "$1" in
  backup) pg pg_dump -U kinto --clean --if-exists -f "$file" kinto ;;
  restore) pg psql -q -U kinto -v ON_ERROR_STOP=1 -f "$file" kinto ;;
esac
