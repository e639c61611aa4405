#!/bin/sh
set -e
export FLOWER_BASIC_AUTH="web:$(cat /run/secrets/web_password)" FLOWER_UNAUTHENTICATED_API=false
exec python3 -m celery -A tasks flower --address=0.0.0.0 --port=5555
