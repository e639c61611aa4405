"""Clients of the programs sops and age."""
