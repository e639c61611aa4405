"""A walk over the units of one evaluated machine: what each needs at its start, and who makes it."""
