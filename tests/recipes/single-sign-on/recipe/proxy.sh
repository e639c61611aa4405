#!/bin/sh
set -e
OAUTH2_PROXY_CLIENT_SECRET=$(cat /run/secrets/client_secret)
OAUTH2_PROXY_COOKIE_SECRET=$(cat /run/secrets/cookie_secret)
export OAUTH2_PROXY_CLIENT_SECRET OAUTH2_PROXY_COOKIE_SECRET
# The browser is sent to the public name; the code is redeemed inside.
exec oauth2-proxy --http-address=0.0.0.0:4180 --reverse-proxy --provider=oidc --client-id=wiki \
  --email-domain='*' --insecure-oidc-allow-unverified-email --insecure-oidc-skip-nonce=false \
  --skip-provider-button --scope='openid email profile' --skip-oidc-discovery \
  --oidc-issuer-url="https://$DOMAIN" --login-url="https://$DOMAIN/oauth/authorize" \
  --redirect-url="https://$DOMAIN/oauth2/callback" --redeem-url=http://wiki:8081/oauth/token \
  --oidc-jwks-url=http://wiki:8081/oauth/jwks.json \
  --upstream=http://wiki:80/wiki/ --upstream=http://wiki:8081/ \
  --skip-auth-route='^/(login|auth|oauth|static|logout|consent|\.well-known)(/|$)'
