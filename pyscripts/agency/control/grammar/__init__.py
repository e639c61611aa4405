"""The grammar of commands, the same in chat and on the command line.

It knows no command: `agency.control.commands` declares them in this vocabulary.
"""
