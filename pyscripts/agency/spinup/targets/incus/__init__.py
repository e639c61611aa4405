"""Spin-up in a guest: what it is made of, its steps, and what is seen in them."""
