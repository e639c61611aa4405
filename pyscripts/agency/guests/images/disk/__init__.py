"""The disk of a virtual machine, made without mounting anything."""
