"""The shop: all services that an instance enables, looked at on the machine that runs it."""
