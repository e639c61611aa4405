"""Commands of `agency secrets` that work on an instance."""
