#!/bin/sh
set -e
mkdir -p /data/buckets /data/older
ROOT_SECRET_ACCESS_KEY=$(cat /run/secrets/root_key)
export ROOT_ACCESS_KEY_ID=root ROOT_SECRET_ACCESS_KEY
exec versitygw --port :7070 --health /health posix --versioning-dir /data/older /data/buckets
