"""Entrypoint of the provider: makes its settings, its member and its client once, and serves.

One process does it all: a start of Canaille takes two seconds of a processor, and on a busy machine
six of them took longer than the app has to become ready.
"""

import json
import os
import secrets
from pathlib import Path

from canaille.commands import cli
from joserfc.jwk import RSAKey

DATA, SECRETS = Path("/data"), Path("/run/secrets")
MADE = DATA / "made"
DOMAIN, MEMBER = os.environ["DOMAIN"], os.environ["MEMBER"]


def settings():
    made = RSAKey.generate_key(2048, auto_kid=True).as_dict(private=True)
    key = ", ".join(f"{name} = {json.dumps(value)}" for name, value in made.items())
    return f"""\
SECRET_KEY = "{secrets.token_urlsafe(32)}"
SERVER_NAME = "{DOMAIN}"
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
TRUSTED_DOMAINS = ["{DOMAIN}"]
ACTIVE_JWKS = [{{{key}}}]
"""


def secret(name):
    return (SECRETS / name).read_text().strip()


def canaille(*words, **options):
    named = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    cli([*words, *named], standalone_mode=False)


def make():
    for one in DATA.iterdir():  # of a start that did not come to its end
        one.unlink()
    Path(os.environ["CANAILLE_CONFIG"]).write_text(settings())
    canaille("install")
    canaille(
        *("create", "user", "--quiet"),
        user_name=MEMBER,
        family_name=MEMBER,
        emails=f"{MEMBER}@{DOMAIN}",
        password=secret("member_password"),
    )
    canaille(
        *("create", "client", "--quiet", "--scope=openid", "--scope=email", "--scope=profile"),
        client_id="wiki",
        client_name="Wiki",
        client_secret=secret("client_secret"),
        client_uri=f"https://{DOMAIN}/",
        redirect_uris=f"https://{DOMAIN}/oauth2/callback",
        grant_types="authorization_code",
        response_types="code",
        token_endpoint_auth_method="client_secret_basic",
        id_token_signed_response_alg="RS256",
    )
    canaille("set", "client", "wiki", "--quiet", audience="wiki")
    MADE.write_text("yes")


if __name__ == "__main__":
    if not MADE.exists():
        make()
    canaille("run", bind="0.0.0.0:5000", workers=0)
