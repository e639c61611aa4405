"""The grammar of commands, the same in chat and on the command line."""
