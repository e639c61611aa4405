#!/bin/sh
set -e
printf 'publisher:{PLAIN}%s\n' "$(cat /run/secrets/publish_password)" >/tmp/htpasswd
test -e /srv/content/index.html || printf '<h1>%s</h1>\n' "$TITLE" >/srv/content/index.html
exec nginx -c /etc/nginx/nginx.conf
