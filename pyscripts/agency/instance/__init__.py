"""An instance: one deployment's facts, from instance.yaml to everything rendered from it."""
