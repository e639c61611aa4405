"""Leased review machines: a throwaway guest that runs somebody's change until its lease ends."""
