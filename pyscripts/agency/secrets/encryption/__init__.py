"""sops and age."""
