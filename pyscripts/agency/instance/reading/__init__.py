"""From the text of instance.yaml to typed values, with the line of everything that is wrong."""
