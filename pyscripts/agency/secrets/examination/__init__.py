"""Examination of an instance's secrets: presence, forms, the age of values and of the data key."""
