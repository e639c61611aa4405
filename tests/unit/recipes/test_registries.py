"""Log-ins at registries, as Docker's own configuration has them."""

import base64
import json

import pytest

from agency.errors import BadInputError, PrerequisiteError
from agency.recipes.registries import full_name, read_registries

PAIR = base64.b64encode(b"me:pass:word-1234").decode()


def read(tmp_path, data):
    (tmp_path / "config.json").write_text(data if isinstance(data, str) else json.dumps(data))
    return read_registries(tmp_path / "config.json")


def test_a_log_in_is_found_by_the_image(tmp_path):
    found = read(
        tmp_path,
        {
            "auths": {
                "registry.example:5000": {"auth": PAIR},
                "https://index.docker.io/v1/": {"username": "hub", "password": "of-the-hub"},
            },
            "credsStore": "desktop",
        },
    )
    login = found.login("registry.example:5000/a/b:1")
    assert login.auth() == {"username": "me", "password": "pass:word-1234"}
    assert "pass:word" not in repr(found)
    assert found.login("nginx:1.22").user == found.login("org/app").user == "hub"
    assert found.login("other.example/nginx") is None
    assert {one.reveal() for one in found.secrets()} >= {"pass:word-1234", PAIR, "of-the-hub"}


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("nginx", "docker.io/library/nginx"),
        ("org/app:1", "docker.io/org/app:1"),
        ("localhost/app", "localhost/app"),
        ("host:5000/app", "host:5000/app"),
        ("a.b/c/d@sha256:0", "a.b/c/d@sha256:0"),
    ],
)
def test_an_image_without_a_registry_is_of_the_hub(image, full):
    assert full_name(image) == full


@pytest.mark.parametrize(
    "data",
    [
        "no json hunter22",
        {"auths": []},
        {},
        {"auths": {"x": {"auth": "hunter22!"}}},
        {"auths": {"x": {"auth": base64.b64encode(b"hunter22").decode()}}},
        {"auths": {"x": {"auth": base64.b64encode(b"\xff:hunter22").decode()}}},
        {"auths": {"x": {}}},
    ],
)
def test_what_is_no_configuration_is_refused_and_not_told(tmp_path, data):
    with pytest.raises(BadInputError) as caught:
        read(tmp_path, data)
    assert "hunter22" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_file_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(PrerequisiteError, match="cannot be read"):
        read_registries(tmp_path / "none")
