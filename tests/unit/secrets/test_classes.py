"""Required secrets of an instance, their generators, and the ephemeral provider."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

from agency.errors import BadInputError, InternalError
from agency.instance.model import Instance, Services
from agency.instance.needs import required_secrets
from agency.secrets.classes import Generator, SecretClass, SecretSpec
from agency.secrets.generators import generate
from agency.secrets.providers import EphemeralProvider

PKCS8 = "PRIVATE KEY"  # what the header of a key in PKCS #8 says
MATRIX = {
    "matrix-as-token",
    "matrix-hs-token",
    "matrix-registration-shared-secret",
    "matrix-signing-key",
    "matrix-macaroon-secret-key",
    "matrix-form-secret",
    "operator-password",
    "vault-master-key",
}


def instance(**services: object) -> Instance:
    return Instance.model_validate(
        {
            "version": 1,
            "name": "x",
            "domain": "agency.example",
            "operators": ["@alice:agency.example"],
            "services": services,
            "agents": {"pm": {"role": "pm"}, "off": {"role": "dev", "enable": False}},
            "secrets": {"provider": "ephemeral"},
        }
    )


def specs(**services: object) -> tuple[SecretSpec, ...]:
    return required_secrets(instance(**services))


def names(**services: object) -> set[str]:
    return {spec.name for spec in specs(**services)}


ON = {"enable": True}
OFF = {"enable": False}
EVERYTHING = {field.alias or name: ON for name, field in Services.model_fields.items()} | {
    "ci": {"enable": True, "engine": "drone"}
}


class TestRequired:
    """Services and agents decide which secrets are required."""

    def test_matrix(self) -> None:
        assert names() == MATRIX | {"transcript-signing-key"}
        assert names(matrix=OFF) == {"transcript-signing-key"}

    @pytest.mark.parametrize(
        ("services", "needed"),
        [
            ({"edge": ON}, {"wildcard-certificate", "wildcard-certificate-key"}),
            ({"traefik": ON}, {"wildcard-certificate", "wildcard-certificate-key"}),
            ({"k3s": ON}, {"k3s-token"}),
            ({"observability": ON}, {"grafana-secret-key", "grafana-admin-password"}),
            ({"bridge": ON}, {"webhook-hmac", "forge-bot-token"}),
            ({"swarm": ON}, {"registry-credentials"}),
            ({"ci": ON}, {"forge-bot-token", "registry-credentials"}),
            (
                {"ci": {"enable": True, "engine": "drone"}},
                {
                    "forge-bot-token",
                    "registry-credentials",
                    "drone-rpc-secret",
                    "drone-oauth-client-id",
                    "drone-oauth-client-secret",
                    "ci-engine-token",
                },
            ),
            (
                {"ci": {"enable": True, "engine": "gitea-actions"}},
                {
                    "forge-bot-token",
                    "registry-credentials",
                    "ci-engine-token",
                    "gitea-runner-token",
                },
            ),
        ],
    )
    def test_secrets_added_by_a_service(
        self, services: dict[str, object], needed: set[str]
    ) -> None:
        assert names(matrix=OFF, **services) == needed | {"transcript-signing-key"}

    def test_gitlab_adds_a_key_for_each_agent_that_is_on(self) -> None:
        found = names(gitlab=ON)
        assert "agent-pm-ssh-key" in found
        assert "agent-off-ssh-key" not in found
        assert {"gitlab-initial-root-password", "gitlab-jws-key"} <= found

    def test_bot_token_is_external_only_with_a_foreign_forge(self) -> None:
        def bot(**services: object) -> SecretClass:
            return next(spec.cls for spec in specs(**services) if spec.name == "forge-bot-token")

        assert bot(bridge=ON) is SecretClass.A1
        assert bot(bridge=ON, gitlab=ON) is SecretClass.C

    @pytest.mark.parametrize(
        ("forge", "gitlab", "wanted"),
        [
            (None, ON, SecretClass.C),
            ({"url": "https://git.example.org"}, OFF, SecretClass.C),
            ({"kind": "gitlab", "url": "https://git.example.org"}, OFF, SecretClass.A1),
            (None, OFF, SecretClass.A1),
        ],
    )
    def test_a_client_is_brought_only_where_nothing_can_issue_it(
        self, forge: object, gitlab: object, wanted: SecretClass
    ) -> None:
        document = instance(ci={"enable": True, "engine": "drone"}, gitlab=gitlab).model_dump(
            by_alias=True
        )
        found = required_secrets(Instance.model_validate(document | {"forge": forge}))
        classes = {one.cls for one in found if one.name.startswith("drone-oauth-client-")}
        assert classes == {wanted}

    def test_a_machine_fetches_an_encrypted_instance_with_a_key(self) -> None:
        """An instance whose secrets are made at each boot has no repository to fetch."""
        document = instance().model_dump(by_alias=True)
        document["secrets"] = {"provider": "sops", "recipients": {"host": "age1" + "q" * 58}}
        kept = {spec.name for spec in required_secrets(Instance.model_validate(document))}
        assert kept - names() == {"deploy-key"}

    def test_every_spec_is_complete(self) -> None:
        for spec in [*specs(**EVERYTHING), *specs(ci=ON)]:
            assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", spec.name)
            assert spec.description
            assert spec.mode in {"0400", "0440"}
            external = spec.cls is SecretClass.A1
            assert external == (spec.generator is Generator.EXTERNAL), spec.name
            assert external == bool(spec.instructions), spec.name
            assert spec.consumers or spec.cls is SecretClass.B
            assert all(unit.endswith(".service") for unit in spec.consumers)

    def test_names_are_in_order_and_once(self) -> None:
        found = [spec.name for spec in specs(**EVERYTHING)]
        assert found == sorted(set(found))


class TestGenerators:
    """Generated values have the form that their readers accept."""

    @pytest.mark.parametrize("kind", [kind for kind in Generator if kind is not Generator.EXTERNAL])
    def test_generated_values_differ(self, kind: Generator) -> None:
        assert generate(kind) != generate(kind)

    def test_text(self) -> None:
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", generate(Generator.TOKEN).reveal())
        assert re.fullmatch(r"[0-9a-f]{128}", generate(Generator.HEX).reveal())
        assert re.fullmatch(r"[a-z2-9]{24}", generate(Generator.PASSWORD).reveal())

    def test_keys(self) -> None:
        ed25519 = generate(Generator.ED25519).reveal()
        assert ed25519.startswith(f"-----BEGIN {PKCS8}-----\n")
        assert isinstance(load_pem_private_key(ed25519.encode(), None), Ed25519PrivateKey)
        rsa = load_pem_private_key(generate(Generator.RSA).reveal().encode(), None)
        assert isinstance(rsa, RSAPrivateKey)
        assert rsa.key_size == 2048
        ssh = load_ssh_private_key(generate(Generator.SSH).reveal().encode(), None)
        assert isinstance(ssh, Ed25519PrivateKey)

    def test_synapse(self) -> None:
        kind, version, seed = generate(Generator.SYNAPSE).reveal().split(" ")
        assert kind == "ed25519"
        assert re.fullmatch(r"a_[a-z2-9]{4}", version)
        assert len(base64.b64decode(seed + "=")) == 32

    def test_external_secret_cannot_be_generated(self) -> None:
        with pytest.raises(InternalError):
            generate(Generator.EXTERNAL)

    def test_randomness_comes_from_the_caller(self) -> None:
        made = [generate(Generator.ED25519, lambda n: b"\x01" * n) for _ in range(2)]
        assert made[0] == made[1]


class TestEphemeral:
    """Secrets that last as long as a run."""

    def test_values_stay_the_same_until_the_end(self, tmp_path: Path) -> None:
        with EphemeralProvider(specs(), tmp_path / "run") as provider:
            assert set(provider.names()) == MATRIX | {"transcript-signing-key"}
            first = provider.get("matrix-as-token")
            assert provider.get("matrix-as-token") == first
            assert provider.get("matrix-hs-token") != first
            assert not (tmp_path / "run").exists()
        with pytest.raises(InternalError, match="closed"):
            provider.get("matrix-as-token")

    def test_two_runs_share_nothing(self, tmp_path: Path) -> None:
        with (
            EphemeralProvider(specs(), tmp_path / "a") as one,
            EphemeralProvider(specs(), tmp_path / "b") as two,
        ):
            for name in one.names():
                assert one.get(name) != two.get(name)

    def test_credentials_are_files_for_one_reader(self, tmp_path: Path) -> None:
        run = tmp_path / "run"
        with EphemeralProvider(specs(), run) as provider:
            one = provider.credentials(["matrix-as-token"])
            two = provider.credentials(["matrix-as-token", "matrix-hs-token"])
            assert one != two
            assert [path.name for path in one.iterdir()] == ["matrix-as-token"]
            assert len(list(two.iterdir())) == 2
            value = provider.get("matrix-as-token").reveal()
            assert (one / "matrix-as-token").read_text() == value
            assert (one / "matrix-as-token").stat().st_mode & 0o777 == 0o600
            assert one.stat().st_mode & 0o777 == 0o700
            assert run.stat().st_mode & 0o777 == 0o700
        assert not run.exists()

    def test_existing_directory_stays(self, tmp_path: Path) -> None:
        (tmp_path / "mine").write_text("x")
        with EphemeralProvider(specs(), tmp_path) as provider:
            provider.credentials(["matrix-as-token"])
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    def test_files_are_gone_after_an_error_too(self, tmp_path: Path) -> None:
        def run() -> None:
            with EphemeralProvider(specs(), tmp_path / "r") as provider:
                provider.credentials(["matrix-as-token"])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            run()
        assert not (tmp_path / "r").exists()

    def test_external_inputs_are_not_generated(self, tmp_path: Path) -> None:
        with EphemeralProvider(specs(**EVERYTHING), tmp_path / "r") as provider:
            missing = {spec.name for spec in provider.missing()}
            assert missing == {"wildcard-certificate", "wildcard-certificate-key"}
            assert not missing & set(provider.names())
            with pytest.raises(BadInputError, match="missing"):
                provider.get("wildcard-certificate")
            for name in provider.names():
                assert len(provider.get(name).reveal()) >= 20

    def test_unknown_name_is_refused(self, tmp_path: Path) -> None:
        with (
            EphemeralProvider(specs(), tmp_path / "r") as provider,
            pytest.raises(BadInputError, match="no secret 'k3s-token'"),
        ):
            provider.get("k3s-token")
