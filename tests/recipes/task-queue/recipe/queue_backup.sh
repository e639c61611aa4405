#!/bin/sh
set -e
REDISCLI_AUTH=$(cat /run/secrets/queue_password)
export REDISCLI_AUTH
case "$1" in
  backup) redis-cli -e save ;;
  restore) redis-cli -e debug reload nosave ;;  # loads the dump anew; nothing is saved over it
esac
