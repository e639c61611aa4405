"""systemd over D-Bus and its journal: small helpers that features share."""
