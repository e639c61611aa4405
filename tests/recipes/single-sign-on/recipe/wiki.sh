#!/bin/sh
set -e
cat >/tmp/nginx.conf <<END
user root;
daemon off;
worker_processes 1;
pid /tmp/nginx.pid;
error_log /dev/stderr;
events {}
http {
  access_log /dev/stdout;
  default_type text/html;
  resolver 127.0.0.11 valid=1s;
  server {  # the wiki, for who has logged in
    listen 80;
    root /srv;
    location = /wiki/reader { return 200 "\$http_x_forwarded_email\n"; }
    location /wiki/ { dav_methods PUT DELETE; create_full_put_path on; }
  }
  server {  # the provider by its public name, for the browser and for the client
    listen 8081;
    location / {
      set \$provider idp;
      proxy_pass http://\$provider:5000;
      proxy_set_header Host $DOMAIN;
      proxy_set_header X-Forwarded-Host $DOMAIN;
      proxy_set_header X-Forwarded-Proto https;
    }
  }
}
END
test -e /srv/wiki/index.html || printf '<h1>The wiki of %s</h1>\n' "$DOMAIN" >/srv/wiki/index.html
exec nginx -c /tmp/nginx.conf
