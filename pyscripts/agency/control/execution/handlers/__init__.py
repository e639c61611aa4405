"""One small function a command. Each is bound to the few things that it may use."""
