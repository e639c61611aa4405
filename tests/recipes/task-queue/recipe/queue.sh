#!/bin/sh
set -e
password=$(cat /run/secrets/queue_password)
printf 'dir /data\nsave 3600 1\nrequirepass %s\nenable-debug-command local\n' "$password" >/tmp/redis.conf
exec redis-server /tmp/redis.conf
