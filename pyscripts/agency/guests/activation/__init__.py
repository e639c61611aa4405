"""Activation: a Debian machine becomes the agency that the NixOS modules declare.

What is laid down was exported from the modules (modules/portable/); nothing here knows any unit.
The world is the only state: what differs from the definitions is mended, whoever changed it.
"""
