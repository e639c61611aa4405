"""Running the control plane: put together, started, watched and stopped."""
