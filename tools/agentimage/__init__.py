"""The image that agents of the runtime `docker` run, made of what this machine has."""
