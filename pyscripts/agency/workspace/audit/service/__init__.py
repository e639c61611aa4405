"""The root service that agents send their events to."""
