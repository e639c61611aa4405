"""Effective policy of an agent, for people: what its parts enforce, in one place.

proxy's configuration ─┐
Gosuto of its gateway ─┼─▶ effective (pure) ─▶ text, or JSON
accepted tools ────────┘
"""
