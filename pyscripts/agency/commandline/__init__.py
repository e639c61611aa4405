"""What every command of the command line shares: output, logs, help, versions."""
