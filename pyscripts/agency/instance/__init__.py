"""Instances: one deployment's facts, from instance.yaml to the files rendered from it."""
