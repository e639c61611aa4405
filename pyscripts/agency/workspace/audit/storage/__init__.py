"""The files of the log: how they are named, written, protected, rotated and read at their ends."""
