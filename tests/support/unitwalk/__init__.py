"""Walk over the units of one evaluated machine: the needs of each, and who meets them."""
