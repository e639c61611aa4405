"""Looks at a deployed app: the images that run, and what its containers use."""
