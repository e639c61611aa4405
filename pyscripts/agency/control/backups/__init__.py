"""The machine's backup as people see and start it from a room."""
