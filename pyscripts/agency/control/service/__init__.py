"""Running of the control plane: assembled, started, watched and stopped."""
