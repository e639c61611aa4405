"""The catalogue of secrets is the only place of every fact."""

from __future__ import annotations

import ast
import copy
import json
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agency import naming
from agency.errors import InternalError, PrerequisiteError
from agency.secrets import catalogue as module
from agency.secrets import names
from agency.secrets.catalogue import CATALOGUE, catalogue_file, load_catalogue, parse_catalogue
from agency.secrets.classes import Generator, SecretClass
from agency.secrets.delivery.install import WantedSecret
from agency.secrets.generators import generate

ROOT = Path(__file__).resolve().parents[3]
PRODUCT = ROOT / "pyscripts/agency"
# The one module that writes names out.
OF_NAMES = PRODUCT / "secrets/names.py"

_KEY = "PRIVATE KEY"
FORMS = {
    "keys": r"[A-Za-z0-9_-]{43}",
    "token": r"[A-Za-z0-9_-]{43}",
    "hex": r"[0-9a-f]{128}",
    "password": r"[a-z2-9]{24}",
    "pem-private-key": rf"-----BEGIN {_KEY}-----\n[\s\S]+-----END {_KEY}-----\n",
    "openssh-private-key": rf"-----BEGIN OPENSSH {_KEY}-----\n[\s\S]+",
    "synapse-signing-key": r"ed25519 a_[a-z2-9]{4} \S{43}",
}


def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / CATALOGUE).read_text())
    return found


def named() -> dict[str, str]:
    """Return the constants of agency.secrets.names and the names they hold."""
    found = {}
    for constant, value in vars(names).items():
        if constant.isupper():
            values = (value,) if isinstance(value, str) else value
            found |= {f"{constant}[{at}]": one for at, one in enumerate(values)}
    return found


class TestFacts:
    """The catalogue in the checkout."""

    def test_checkout_reads_the_same_file_as_nix(self) -> None:
        assert catalogue_file() == ROOT / CATALOGUE
        assert set(load_catalogue().secrets) == set(document()["secrets"])

    def test_entries_are_in_order(self) -> None:
        found = list(document()["secrets"])
        assert found == sorted(found)
        assert len(found) > 30

    def test_classes_and_modes_are_those_of_the_types(self) -> None:
        assert set(load_catalogue().classes) == set(SecretClass)
        allowed = typing.get_args(WantedSecret.model_fields["mode"].annotation)
        assert load_catalogue().modes == allowed

    def test_every_form_procedure_and_generator_is_used(self) -> None:
        found = load_catalogue()
        entries = found.secrets.values()
        foreign = [one.foreign_forge for one in entries if one.foreign_forge is not None]
        assert {one.form for one in entries} == set(found.forms)
        procedures = {one.rotation.procedure for one in entries}
        assert procedures | {one.procedure for one in foreign} == set(found.procedures)
        assert {one.generator for one in entries} == set(Generator)

    def test_generator_matches_the_form(self) -> None:
        made = [
            one
            for one in load_catalogue().secrets.values()
            if one.cls in {SecretClass.A2, SecretClass.B}
        ]
        assert len(made) > 15
        for entry in made:
            assert re.fullmatch(FORMS[entry.form], generate(entry.generator).reveal()), entry

    def test_units_of_agents_follow_the_naming_module(self) -> None:
        spec = load_catalogue().spec(names.AGENT_SSH_KEY, agent="dev-two")
        assert spec.name == "agent-dev-two-ssh-key"
        assert spec.consumers == (naming.agent_unit("dev-two"),)

    def test_a_foreign_forge_issues_nothing(self) -> None:
        own = load_catalogue().spec(names.FORGE_BOT_TOKEN)
        foreign = load_catalogue().spec(names.FORGE_BOT_TOKEN, own_forge=False)
        assert (own.cls, own.generator, own.instructions) == (SecretClass.C, Generator.TOKEN, "")
        assert (foreign.cls, foreign.generator) == (SecretClass.A1, Generator.EXTERNAL)
        assert "access token" in foreign.instructions

    def test_unknown_name_and_missing_value_are_refused(self) -> None:
        with pytest.raises(InternalError, match="no secret 'matrix-token'"):
            load_catalogue().spec("matrix-token")
        with pytest.raises(InternalError, match="needs a value for 'agent'"):
            load_catalogue().spec(names.AGENT_SSH_KEY)


def _set(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        *above, last = path.split("/")
        for part in above:
            found = found[part]
        found[last] = value

    return change


K3S = "secrets/k3s-token"


class TestRefusals:
    """An invalid catalogue is refused, and the error names the field."""

    def test_catalogue_file_is_valid(self) -> None:
        parse_catalogue(json.dumps(document()).encode())

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (_set(f"{K3S}/colour", "red"), "Extra inputs"),
            (_set(f"{K3S}/class", "D"), "'A1', 'A2', 'B' or 'C'"),
            (_set(f"{K3S}/class", "A1"), "A1 and the generator external go together"),
            (_set(f"{K3S}/generator", "external"), "A1 and the generator external go together"),
            (_set(f"{K3S}/instructions", "bring it"), "A1 and instructions go together"),
            (_set(f"{K3S}/restarts", ["nginx.service"]), "restarts nginx.service"),
            (_set(f"{K3S}/consumers", ["k3s"]), "String should match pattern"),
            (_set(f"{K3S}/form", "round"), "there is no form 'round'"),
            (_set(f"{K3S}/mode", "0444"), "there is no mode '0444'"),
            (_set(f"{K3S}/owner", "Root!"), "String should match pattern"),
            (_set(f"{K3S}/rotation/procedure", "never"), "there is no procedure 'never'"),
            (_set(f"{K3S}/rotation/days", 0), "greater than or equal to 1"),
            (_set(f"{K3S}/description", "x" * 301), "at most 300 characters"),
            (_set(f"{K3S}/description", "of {agent}"), "nothing fills in {agent}"),
            (_set("classes/B", ""), "at least 1 character"),
        ],
    )
    def test_invalid_entry_is_refused(
        self, change: Callable[[dict[str, Any]], None], said: str
    ) -> None:
        wrong = copy.deepcopy(document())
        change(wrong)
        with pytest.raises(ValueError, match=re.escape(said)):
            parse_catalogue(json.dumps(wrong).encode())

    @pytest.mark.parametrize("name", ["{planet}-token", "{agent}-{engine}-token", "K3s", "a b"])
    def test_invalid_name_is_refused(self, name: str) -> None:
        wrong = document()
        wrong["secrets"][name] = wrong["secrets"]["k3s-token"]
        with pytest.raises(ValueError, match=r"placeholder|pattern"):
            parse_catalogue(json.dumps(wrong).encode())

    def test_a_secret_without_consumers(self) -> None:
        wrong = document()
        wrong["secrets"]["k3s-token"] |= {"consumers": [], "restarts": []}
        with pytest.raises(ValueError, match="neither consumers nor a reader"):
            parse_catalogue(json.dumps(wrong).encode())

    def test_a_secret_that_a_person_s_program_reads(self) -> None:
        right = document()
        right["secrets"]["k3s-token"] |= {"consumers": [], "restarts": [], "reader": "somebody"}
        parse_catalogue(json.dumps(right).encode())

    def test_duplicate_name_is_refused(self) -> None:
        text = (ROOT / CATALOGUE).read_text().replace('"k3s-token"', '"webhook-hmac"')
        with pytest.raises(ValueError, match="webhook-hmac is there twice"):
            parse_catalogue(text.encode())

    @pytest.mark.parametrize(
        ("content", "error", "said"),
        [
            (None, PrerequisiteError, "cannot be read"),
            ("{", InternalError, "Expecting"),
            ("{}", InternalError, "classes: Field required"),
        ],
    )
    def test_missing_or_invalid_catalogue_is_reported(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        content: str | None,
        error: type[Exception],
        said: str,
    ) -> None:
        (tmp_path / "secrets").mkdir()
        if content is not None:
            (tmp_path / CATALOGUE).write_text(content)
        monkeypatch.setattr(module, "source_root", lambda: tmp_path)
        with pytest.raises(error, match=said) as caught:
            load_catalogue.__wrapped__()
        assert CATALOGUE in str(caught.value)


def _literals(source: str) -> Iterator[tuple[int, str]]:
    """Collect a module's strings except docstrings; {} stands for a value of an f-string."""
    tree = ast.parse(source)
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            texts = (p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)
            yield node.lineno, "".join(map(str, texts))
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in skipped:
            yield node.lineno, str(node.value)


def written_out(source: str) -> list[str]:
    """Find the names of secrets that a module writes out."""
    pattern = "|".join(
        re.escape(re.sub(r"\{[a-z]+\}", "{}", name)) for name in sorted(load_catalogue().secrets)
    ).replace(r"\{\}", r"(?:\{[a-z]*\}|[a-z0-9]+(?:-[a-z0-9]+)*)")
    found = re.compile(rf"(?<![\w{{}}-])(?:{pattern})(?![\w{{}}-])")
    return [f"{line}: {text}" for line, text in _literals(source) if found.search(text)]


class TestNames:
    """Only one module writes out the names."""

    def test_every_constant_names_a_secret(self) -> None:
        found = named()
        assert len(found) > 25
        assert {k: v for k, v in found.items() if v not in load_catalogue().secrets} == {}
        assert len(set(found.values())) == len(found)

    def test_no_other_module_writes_out_a_name(self) -> None:
        sources = [path for path in PRODUCT.rglob("*.py") if path != OF_NAMES]
        assert len(sources) > 300
        found = {
            str(path.relative_to(PRODUCT)): lines
            for path in sources
            if (lines := written_out(path.read_text()))
        }
        assert found == {}

    def test_written_out_name_would_be_found(self) -> None:
        assert written_out(OF_NAMES.read_text())
        assert written_out('X = "the file matrix-as-token is missing"')
        assert written_out('X = f"agent-{name}-ssh-key"')
        assert written_out('X = f"@{x} matrix-as-token@"')
        assert written_out('X = "drone-rpc-secret"')
        assert not written_out('"""Reads matrix-as-token."""\nX = "matrix-as-tokens"')


def imported_by(package: str) -> set[str]:
    """Collect the parts of the product that a package imports, anywhere in a file."""
    found = set()
    for path in (PRODUCT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                whole = [f"{node.module}.{one.name}" for one in node.names]
            else:
                whole = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            found |= {one.split(".")[1] for one in whole if one.startswith("agency.")}
    return found


class TestImports:
    """The folder does not shadow Python's module; the package stays in its layer."""

    @pytest.mark.parametrize("arguments", [["-c"], ["-m", "agency", "--version"]])
    def test_import_secrets_in_the_root_is_the_standard_library(self, arguments: list[str]) -> None:
        program = "import secrets; print(secrets.__file__, len(secrets.token_hex(4)))"
        argv = [sys.executable, *(["-c", program] if arguments == ["-c"] else arguments)]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        if arguments == ["-c"]:
            file, length = done.stdout.split()
            assert Path(file).name == "secrets.py"
            assert not Path(file).is_relative_to(ROOT / "secrets")
            assert length == "8"

    def test_folder_is_not_a_package(self) -> None:
        """With an __init__.py it would shadow the standard library's module."""
        assert (ROOT / CATALOGUE).is_file()
        assert list((ROOT / "secrets").rglob("*.py")) == []

    def test_package_imports_nothing_from_higher_layers(self) -> None:
        above = "instance gosuto machine guests transcript sandbox control reconcile agent"
        above += " workspace spinup recipes gate cli"
        beside = "matrix forge docker coopcloud"
        assert imported_by("secrets") & {*above.split(), *beside.split()} == set()
        assert {"errors", "commandline", "source_digest"} <= imported_by("secrets")
        assert "secrets" in imported_by("instance")
