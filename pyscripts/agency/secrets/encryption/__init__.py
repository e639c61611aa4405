"""Clients of the programs sops and age."""

from agency.secrets.encryption import age, sops

__all__ = ["age", "sops"]
