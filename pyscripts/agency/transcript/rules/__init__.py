"""What a transcript must show: a rule for every probe, and the links between them."""
