"""Access to a machine over one SSH connection."""
