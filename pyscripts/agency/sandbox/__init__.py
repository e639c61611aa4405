"""Leased review machines: a throwaway guest that runs a proposed change until its lease ends."""
