"""Secrets that an instance needs: the catalogue's entries for its services and agents.

Only this module decides it. Nix reads the result from the rendered instance. Some features of
agents, such as mail, are declared by hosts alone: their secrets are possible ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from agency.instance.model import Instance
from agency.secrets import Catalogue, SecretSpec, load_catalogue, names


def required_secrets(instance: Instance) -> tuple[SecretSpec, ...]:
    """List the secrets that this instance's enabled services and agents need, by name."""
    known = load_catalogue()
    specs = [
        *(known.spec(name) for name in _of_services(instance)),
        *(known.spec(name) for name in _of_backup(instance)),
        *_of_ci(instance, known),
        *_of_agents(instance, known),
        *_of_models(instance, known),
        *_certificate(instance, known),
    ]
    return tuple(sorted(specs, key=_by_name))


def possible_secrets(instance: Instance) -> tuple[SecretSpec, ...]:
    """List the secrets that the features of this instance's agents need, if a host has them on."""
    known = load_catalogue()
    required = {spec.name for spec in required_secrets(instance)}
    specs = (
        known.spec(name, agent=agent) for agent in instance.agents for name in known.of_features()
    )
    return tuple(spec for spec in sorted(specs, key=_by_name) if spec.name not in required)


def is_of_feature(name: str) -> bool:
    """Return whether a name is that of a feature's secret, of whatever agent.

    A host may declare agents of its own.
    """
    patterns = (
        re.escape(one).replace(r"\{agent\}", ".+") for one in load_catalogue().of_features()
    )
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def model_key(provider: str) -> str:
    """Return the name of the key of a provider of models."""
    return load_catalogue().spec(names.MODEL_KEY, provider=provider).name


def _by_name(spec: SecretSpec) -> str:
    return spec.name


def _of_services(instance: Instance) -> Iterator[str]:
    """Name the secrets that depend on enabled services only."""
    services = instance.services
    if instance.secrets.provider == "sops":  # else there is no private repository to fetch
        yield names.DEPLOY_KEY
    yield names.TRANSCRIPT_SIGNING_KEY
    if services.matrix.enable:
        yield names.MATRIX_AS_TOKEN
        yield names.MATRIX_HS_TOKEN
        yield names.MATRIX_REGISTRATION_SHARED_SECRET
        yield names.MATRIX_SIGNING_KEY
        yield names.MATRIX_MACAROON_SECRET_KEY
        yield names.MATRIX_FORM_SECRET
        yield names.OPERATOR_PASSWORD
        yield names.VAULT_MASTER_KEY
    if services.gitlab.enable:
        yield from names.GITLAB_RAILS
        yield names.GITLAB_ROOT_PASSWORD
        yield names.GITLAB_RUNNER_TOKEN
        yield names.GITLAB_SANDBOX_RUNNER_TOKEN
        # Client credentials of services to which people log in with their forge account.
        if services.matrix.enable:
            yield names.MATRIX_OIDC_CLIENT_ID
            yield names.MATRIX_OIDC_CLIENT_SECRET
        if services.observability.enable:
            yield names.GRAFANA_OIDC_CLIENT_ID
            yield names.GRAFANA_OIDC_CLIENT_SECRET
    if services.bridge.enable:
        yield names.WEBHOOK_HMAC
    if services.ci.enable or services.swarm.enable:
        yield names.REGISTRY_CREDENTIALS
    if services.k3s.enable:
        yield names.K3S_TOKEN
    if services.observability.enable:
        yield names.GRAFANA_SECRET_KEY
        yield names.GRAFANA_ADMIN_PASSWORD
        yield from _of_alerts(instance)


def _of_alerts(instance: Instance) -> Iterator[str]:
    """Name the secrets by which alerts reach the control room, and leave the second way."""
    if instance.services.matrix.enable:
        yield names.ALERTMANAGER_TOKEN
    mail = instance.alerts.mail
    if mail is not None and mail.username is not None:
        yield names.ALERTS_MAIL_PASSWORD
    if instance.alerts.webhook:
        yield names.ALERTS_WEBHOOK_URL


def _of_backup(instance: Instance) -> Iterator[str]:
    """Name the secrets that open the place of the backups."""
    if instance.backup is None:
        return
    yield names.BACKUP_PASSWORD
    if instance.backup.scheme == "sftp":
        yield names.BACKUP_SSH_KEY
    elif instance.backup.scheme:
        yield names.BACKUP_CREDENTIALS


def _of_ci(instance: Instance, known: Catalogue) -> Iterator[SecretSpec]:
    """Specify the secrets of recipe CI; an instance without its own forge brings some itself."""
    services = instance.services
    own_forge = services.gitlab.enable
    if own_forge or services.bridge.enable or services.ci.enable:
        yield known.spec(names.FORGE_BOT_TOKEN, own_forge=own_forge)
    engine = services.ci.engine
    if services.ci.enable and engine != "builtin":
        yield known.spec(names.CI_RPC_SECRET, engine=engine)
        for name in (names.CI_OAUTH_CLIENT_ID, names.CI_OAUTH_CLIENT_SECRET):
            yield known.spec(name, own_forge=own_forge, engine=engine)


def _of_agents(instance: Instance, known: Catalogue) -> Iterator[SecretSpec]:
    for agent in instance.resolved_agents():
        if instance.services.gitlab.enable:
            yield known.spec(names.AGENT_SSH_KEY, agent=agent.name)
        if instance.agents[agent.name].task_loop.issues is not None:
            yield known.spec(names.AGENT_ISSUES_TOKEN, agent=agent.name)


def _of_models(instance: Instance, known: Catalogue) -> Iterator[SecretSpec]:
    """Specify the keys of the providers of models that want one."""
    for name, provider in () if instance.models is None else instance.models.providers.items():
        if provider.key:
            yield known.spec(names.MODEL_KEY, provider=name)


def _certificate(instance: Instance, known: Catalogue) -> Iterator[SecretSpec]:
    """Specify the wildcard certificate, with those of its readers that this instance runs."""
    edge, traefik = instance.services.edge.enable, instance.services.traefik.enable
    if not (edge or traefik):
        return
    runs = {"nginx.service": edge, "agency-reconcile-traefik.service": traefik}
    domain = instance.domain
    hosts = [domain, f"*.{domain}", *([f"*.ci.{domain}"] if traefik else [])]
    domains = f"{', '.join(hosts[:-1])} and {hosts[-1]}"
    for name in (names.WILDCARD_CERTIFICATE, names.WILDCARD_CERTIFICATE_KEY):
        spec = known.spec(name, domains=domains)
        yield replace(
            spec,
            consumers=tuple(unit for unit in spec.consumers if runs[unit]),
            restarts=tuple(unit for unit in spec.restarts if runs[unit]),
            hosts=tuple(hosts),
        )
