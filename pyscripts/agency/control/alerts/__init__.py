"""Alerts: what Alertmanager delivers, as messages in the control room, each told once."""
