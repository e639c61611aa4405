"""Files of the log: their names, and writing, protecting, rotating and reading them."""
