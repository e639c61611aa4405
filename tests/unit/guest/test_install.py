from __future__ import annotations

from agency.guests.install import still_to_install

PINS = (
    "agency==0.1.0 --hash=sha256:aa\n"
    "yarl==1.25.1 --hash=sha256:bb\n"
    "zope_interface==8.7 --hash=sha256:cc\n"
)


def test_what_is_there_in_its_very_version_is_not_installed_again() -> None:
    installed = {"yarl": "1.25.1", "zope.interface": "8.7", "pip": "23.0"}
    assert still_to_install(PINS, installed) == "agency==0.1.0 --hash=sha256:aa\n"


def test_another_version_is_left_for_pip_to_judge() -> None:
    installed = {"yarl": "1.25.10", "zope.interface": "8.7", "agency": "0.0.9"}
    assert still_to_install(PINS, installed).splitlines() == PINS.splitlines()[:2]


def test_nothing_is_left_out_of_an_empty_environment() -> None:
    assert still_to_install(PINS, {}) == PINS
