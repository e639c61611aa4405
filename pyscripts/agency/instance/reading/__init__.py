"""Reading of instance.yaml: from text to typed values, with the line of every problem."""
