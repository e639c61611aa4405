"""Targets of a spin-up: `local` (processes), `incus` (a guest), `ssh` (a running host)."""
