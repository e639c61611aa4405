"""Reconcilers: observe, plan, apply; a no-op when nothing differs."""
