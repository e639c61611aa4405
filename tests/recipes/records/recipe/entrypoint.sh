#!/bin/sh
set -e
kinto() { python3 -W ignore -c 'import sys; from kinto.__main__ import main; sys.exit(main())' "$@"; }
url="postgresql://kinto:$(cat /run/secrets/db_password)@db/kinto"
export KINTO_STORAGE_URL="$url" KINTO_PERMISSION_URL="$url" KINTO_CACHE_URL="$url"
until kinto migrate --ini /etc/kinto.ini; do sleep 0.5; done
kinto create-user --ini /etc/kinto.ini -u admin -p "$(cat /run/secrets/admin_password)"
kinto start --ini /etc/kinto.ini --port 8888
