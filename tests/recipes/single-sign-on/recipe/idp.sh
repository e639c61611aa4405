#!/bin/sh
set -e
canaille() { python3 -W ignore -c 'from canaille.commands import cli; cli()' "$@"; }
if ! test -e /data/made; then
  rm -f /data/*
  python3 - >/data/canaille.toml <<'END'
import json, os, secrets, subprocess
argv = ["python3", "-W", "ignore", "-c", "from canaille.commands import cli; cli()", "jwk", "create", "rsa"]
environment = {**os.environ, "CANAILLE_CONFIG": ""}
told = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
key = ", ".join(f"{name} = {json.dumps(value)}" for name, value in json.loads(told).items())
domain = os.environ["DOMAIN"]
print(f'''SECRET_KEY = "{secrets.token_urlsafe(32)}"
SERVER_NAME = "{domain}"
PREFERRED_URL_SCHEME = "https"

[CANAILLE]
DATABASE = "sql"
ENABLE_REGISTRATION = false

[CANAILLE_SQL]
DATABASE_URI = "sqlite:////data/people.db"

[CANAILLE_HYPERCORN]
PROXY_MODE = "legacy"

[CANAILLE_OIDC]
ENABLE_OIDC = true
TRUSTED_DOMAINS = ["{domain}"]
ACTIVE_JWKS = [{{{key}}}]
''')
END
  canaille install
  canaille create user --quiet --user-name "$MEMBER" --family-name "$MEMBER" \
    --emails "$MEMBER@$DOMAIN" --password "$(cat /run/secrets/member_password)"
  canaille create client --quiet --client-id wiki --client-name Wiki \
    --client-secret "$(cat /run/secrets/client_secret)" --client-uri "https://$DOMAIN/" \
    --redirect-uris "https://$DOMAIN/oauth2/callback" --grant-types authorization_code \
    --response-types code --scope openid --scope email --scope profile \
    --token-endpoint-auth-method client_secret_basic --id-token-signed-response-alg RS256
  canaille set client wiki --quiet --audience wiki
  printf yes >/data/made
fi
canaille run --bind 0.0.0.0:5000
