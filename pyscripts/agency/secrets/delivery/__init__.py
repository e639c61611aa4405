"""Putting secrets where those who need them find them."""
