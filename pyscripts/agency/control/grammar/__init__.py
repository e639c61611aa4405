"""The grammar of commands, the same in chat and on the command line.

It defines no command: `agency.control.commands` declares them with these types.
"""
