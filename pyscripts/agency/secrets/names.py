"""Names of the catalogue's secrets, for code that reads a secret by name.

The facts of each are in `secrets/catalogue.json`. A test compares the two, and fails on a name that
is written out anywhere else.
"""

# ruff: noqa: S105 - these are names of secrets, no secrets

from __future__ import annotations

# One secret each.
ALERTMANAGER_TOKEN = "alertmanager-token"
ALERTS_MAIL_PASSWORD = "alerts-mail-password"
ALERTS_WEBHOOK_URL = "alerts-webhook-url"
BACKUP_CREDENTIALS = "backup-repository-credentials"
BACKUP_PASSWORD = "backup-password"
BACKUP_SSH_KEY = "backup-ssh-key"
DEPLOY_KEY = "deploy-key"
FORGE_BOT_TOKEN = "forge-bot-token"
GITLAB_ROOT_PASSWORD = "gitlab-initial-root-password"
GITLAB_RUNNER_TOKEN = "gitlab-runner-token"
GITLAB_SANDBOX_RUNNER_TOKEN = "gitlab-sandbox-runner-token"
GRAFANA_ADMIN_PASSWORD = "grafana-admin-password"
GRAFANA_OIDC_CLIENT_ID = "grafana-oidc-client-id"
GRAFANA_OIDC_CLIENT_SECRET = "grafana-oidc-client-secret"
GRAFANA_SECRET_KEY = "grafana-secret-key"
K3S_TOKEN = "k3s-token"
MATRIX_AS_TOKEN = "matrix-as-token"
MATRIX_FORM_SECRET = "matrix-form-secret"
MATRIX_HS_TOKEN = "matrix-hs-token"
MATRIX_MACAROON_SECRET_KEY = "matrix-macaroon-secret-key"
MATRIX_OIDC_CLIENT_ID = "matrix-oidc-client-id"
MATRIX_OIDC_CLIENT_SECRET = "matrix-oidc-client-secret"
MATRIX_REGISTRATION_SHARED_SECRET = "matrix-registration-shared-secret"
MATRIX_SIGNING_KEY = "matrix-signing-key"
OPERATOR_PASSWORD = "operator-password"
REGISTRY_CREDENTIALS = "registry-credentials"
TRANSCRIPT_SIGNING_KEY = "transcript-signing-key"
VAULT_MASTER_KEY = "vault-master-key"
WEBHOOK_HMAC = "webhook-hmac"
WILDCARD_CERTIFICATE = "wildcard-certificate"
WILDCARD_CERTIFICATE_KEY = "wildcard-certificate-key"

# Keys with which GitLab itself encrypts and signs.
GITLAB_RAILS = (
    "gitlab-active-record-deterministic-key",
    "gitlab-active-record-primary-key",
    "gitlab-active-record-salt",
    "gitlab-db-key",
    "gitlab-jws-key",
    "gitlab-otp-key",
    "gitlab-secret-key",
)

# One secret for each agent, each provider of models, or each engine of recipe CI.
AGENT_ISSUES_TOKEN = "agent-{agent}-issues-token"
AGENT_SSH_KEY = "agent-{agent}-ssh-key"
MODEL_KEY = "model-{provider}-key"
CI_OAUTH_CLIENT_ID = "{engine}-oauth-client-id"
CI_OAUTH_CLIENT_SECRET = "{engine}-oauth-client-secret"
CI_RPC_SECRET = "{engine}-rpc-secret"
