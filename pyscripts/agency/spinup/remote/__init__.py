"""An agency on another machine, a guest or a host: reaching it and looking at it."""
