"""Co-op Cloud on one machine: recipes, abra that deploys them, and the resulting stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agency.lazy import lazy_names

if TYPE_CHECKING:
    from agency.coopcloud.abra import Abra, find_abra
    from agency.coopcloud.recipe import Recipe, stack_name
    from agency.coopcloud.stack import (
        INPUTS,
        NAMESPACE,
        SERVICES,
        SPEC,
        Service,
        Stack,
        StackError,
        spec_digest,
    )

__all__ = [
    "INPUTS",
    "NAMESPACE",
    "SERVICES",
    "SPEC",
    "Abra",
    "Recipe",
    "Service",
    "Stack",
    "StackError",
    "find_abra",
    "spec_digest",
    "stack_name",
]

__getattr__ = lazy_names(
    __name__,
    {
        "INPUTS": "stack",
        "NAMESPACE": "stack",
        "SERVICES": "stack",
        "SPEC": "stack",
        "Abra": "abra",
        "Recipe": "recipe",
        "Service": "stack",
        "Stack": "stack",
        "StackError": "stack",
        "find_abra": "abra",
        "spec_digest": "stack",
        "stack_name": "recipe",
    },
)
