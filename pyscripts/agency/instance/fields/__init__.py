"""Types of single fields of instance.yaml, and what is told about a wrong one."""
