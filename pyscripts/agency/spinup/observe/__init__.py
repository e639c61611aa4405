"""What a machine can be asked about the agency that it runs: one program, facts as JSON."""
