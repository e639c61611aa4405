#!/bin/sh
exec python3 -m celery -A tasks worker --loglevel=INFO --concurrency="$WORKERS"
