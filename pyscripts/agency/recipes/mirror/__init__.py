"""Mirror of a recipe on the forge, and a merge request there, with a person's own token.

upstream ─ fetch, no token ─▶ bare, temporary ─ push, with the token ─▶ mirror ─▶ merge request
"""
