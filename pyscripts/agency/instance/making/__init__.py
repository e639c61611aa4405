"""Making a new instance: what is asked for, and all of it or nothing."""
