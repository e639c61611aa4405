"""Recipes, their digests, and what is made of them."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agency.errors import BadInputError, PrerequisiteError
from agency.guests.images import image, wheelhouse
from agency.guests.images.disk import disk, split
from agency.guests.images.pins import read_pins
from agency.guests.images.recipe import (
    ImageRecipe,
    debian_architecture,
    default_recipe,
)
from agency.guests.incus.model import Kind

CHANGES = {
    "builder": 99,
    "suite": "trixie",
    "python": "3.13",
    "architecture": "arm64",
    "variant": "apt",
    "packages": ("systemd",),
    "masked": (),
    "disabled": (),
    "files": {},
    "epoch": 1,
    "kind": "virtual-machine",
}


def recipe(**changes: object) -> ImageRecipe:
    return ImageRecipe.model_validate({"architecture": "amd64", **changes})


def test_every_field_changes_the_digest():
    assert set(CHANGES) == set(ImageRecipe.model_fields), "a new field needs a line here"
    digests = {recipe(**{field: value}).digest for field, value in CHANGES.items()}
    assert len(digests | {recipe().digest}) == len(CHANGES) + 1


def test_equal_recipes_have_equal_digests():
    assert recipe().digest == recipe().digest
    assert default_recipe().digest == default_recipe().digest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("packages", ("systemd; rm -rf /",)),
        ("packages", ("--option",)),
        ("packages", ()),
        ("masked", ("a.service b.service",)),
        ("disabled", ("$(id).service",)),
        ("disabled", ("nginx",)),
        ("files", {"etc/relative": ""}),
        ("files", {"/etc/../../outside": ""}),
        ("suite", "bookworm main"),
        ("architecture", "m68k"),
        ("unknown", 1),
    ],
)
def test_what_cannot_be_meant_is_refused(field, value):
    with pytest.raises(ValidationError):
        recipe(**{field: value})


def test_no_mirror_is_named(tmp_path):
    target, status = tmp_path / "rootfs.tar", tmp_path / "status"
    argv = image.mmdebstrap_argv(recipe(), None, tmp_path / "overlay", target, status)
    assert not any("://" in argument or argument.startswith("deb ") for argument in argv)
    assert argv[-2:] == ("bookworm", str(tmp_path / "rootfs.tar"))


def test_paths_in_hooks_are_quoted(tmp_path):
    place = tmp_path / "with space"
    argv = image.mmdebstrap_argv(recipe(), None, place / "overlay", place / "tar", place / "status")
    assert f"--customize-hook=sync-in '{place}/overlay' /" in argv


def test_metadata_is_what_incus_reads_and_always_the_same():
    description = split.Description("Debian", "bookworm", "amd64", "d" * 64, 1)
    first = split.metadata_tar(description)
    assert first == split.metadata_tar(description)
    with tarfile.open(fileobj=io.BytesIO(first)) as tar:
        document = json.loads(tar.extractfile("metadata.yaml").read())
    assert document["architecture"] == "x86_64"
    assert document["properties"][split.DIGEST_PROPERTY] == "d" * 64


def test_the_fingerprint_is_that_of_both_parts(tmp_path):
    import hashlib

    metadata, rootfs = tmp_path / "metadata.tar", tmp_path / "rootfs.tar"
    metadata.write_bytes(b"one")
    rootfs.write_bytes(b"two")
    assert split.fingerprint(metadata, rootfs) == hashlib.sha256(b"onetwo").hexdigest()


def test_only_installed_packages_are_listed():
    status = (
        "Package: here\nStatus: install ok installed\nVersion: 1.2-3\nDescription: a\n b: c\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
    )
    assert image.installed_packages(status) == {"here": "1.2-3"}
    assert image.installed_packages("") == {}


@given(st.text())
def test_any_status_file_is_read(text):
    assert isinstance(image.installed_packages(text), dict)


def test_wheels_fit_the_guest_and_not_the_host():
    tags = wheelhouse.platforms(recipe())
    assert tags[0] == "manylinux_2_36_x86_64"
    assert "manylinux2014_x86_64" in tags
    assert not any("2_37" in tag for tag in tags), "newer than the guest's C library"
    assert wheelhouse.platforms(recipe(architecture="arm64"))[0] == "manylinux_2_36_aarch64"
    with pytest.raises(BadInputError, match="C library"):
        wheelhouse.platforms(recipe(suite="sid"))


def test_pins_and_guest_decide_which_libraries(tmp_path: Path):
    file = tmp_path / "pins.txt"

    def digest(version: int, wanted: ImageRecipe) -> str:
        file.write_text(f"a=={version} --hash=sha256:{'0' * 64}\n")
        return wheelhouse.Ingredients(file, wanted).libraries_digest(read_pins(file))

    first = digest(1, recipe())
    assert digest(1, recipe(epoch=1)) == first
    assert digest(1, recipe(python="3.12")) != first
    assert digest(2, recipe()) != first


@pytest.mark.parametrize(("machine", "name"), [("x86_64", "amd64"), ("aarch64", "arm64")])
def test_architectures(machine, name):
    assert debian_architecture(machine) == name


def test_an_architecture_without_images_is_refused():
    with pytest.raises(PrerequisiteError, match="sparc"):
        debian_architecture("sparc")


LIBRARIES = wheelhouse.Libraries(Path("/somewhere"), "a" * 64)


def test_an_image_is_known_by_how_it_is_made(monkeypatch):
    known = image.image_digest(recipe(), LIBRARIES)
    elsewhere = wheelhouse.Libraries(Path("/elsewhere"), LIBRARIES.digest)
    assert image.image_digest(recipe(), elsewhere) == known, "where it is made does not matter"
    assert image.image_digest(recipe(), None) != known
    with monkeypatch.context() as patch:
        patch.setattr(image, "venv", lambda: ("python3", "-m", "venv", "/opt/other"))
        assert image.image_digest(recipe(), LIBRARIES) != known
    with monkeypatch.context() as patch:
        patch.setattr(image, "pip_install", lambda *_: ("pip", "install", "--other"))
        assert image.image_digest(recipe(), LIBRARIES) != known
    assert image.image_digest(recipe(), LIBRARIES) == known


@pytest.mark.parametrize("constant", ["_ROOT_ID", "_LOADER", "_DISK_ID"])
def test_a_machines_disk_is_known_by_its_layout(monkeypatch, constant):
    machine, container = recipe(kind=Kind.VM), recipe()
    known, other = (image.image_digest(each, None) for each in (machine, container))
    monkeypatch.setattr(disk, constant, "another")
    assert image.image_digest(machine, None) != known
    assert image.image_digest(container, None) == other
