"""The signed record of a spin-up: an in-toto Statement in a DSSE envelope."""
