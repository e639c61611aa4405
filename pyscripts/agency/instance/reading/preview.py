"""Enabled features whose programs are not written yet and which `preview` does not list."""

from __future__ import annotations

from collections.abc import Iterator

from agency.instance.model import Instance
from agency.instance.problems import Loc
from agency.unwritten import FEATURES
from agency.yaml_source import Source


def note_unwritten(source: Source, instance: Instance) -> None:
    """Note a problem for each feature that is on without its program and without `preview`."""
    for loc, feature in _turned_on(instance):
        if feature in FEATURES and feature not in instance.preview:
            source.add(
                loc,
                "the program behind it is not part of this version; leave it off, or list "
                f"{feature} under preview (`agency init --preview {feature}`)",
            )


def _turned_on(instance: Instance) -> Iterator[tuple[Loc, str]]:
    """Find the enabled features that `preview` knows by name, with their locations."""
    services = instance.services
    if services.bridge.enable:
        yield ("services", "bridge"), "bridge"
    if services.dashboard.enable:
        yield ("services", "dashboard"), "dashboard"
