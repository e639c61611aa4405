"""Parts that all commands share: output, logs, exit statuses, versions, completion."""
