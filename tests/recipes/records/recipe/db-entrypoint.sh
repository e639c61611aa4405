#!/bin/sh
set -e
data=/var/lib/postgresql/data/main
if ! test -e "$data/ready"; then
  rm -rf "$data"
  pg initdb -D "$data" -U kinto --auth-local=trust --auth-host=scram-sha-256 \
    --pwfile=/run/secrets/db_password --locale=C --encoding=UTF8
  printf 'host all all all scram-sha-256\n' >>"$data/pg_hba.conf"
  pg pg_ctl -D "$data" -w -o "-c listen_addresses=" start >&2
  pg createdb -U kinto kinto
  pg pg_ctl -D "$data" -w stop
  printf yes >"$data/ready"
fi
exec /usr/bin/pg postgres -D "$data" -c listen_addresses=* -c fsync=off
