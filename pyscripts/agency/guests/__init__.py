"""The throwaway guest: its image, what is installed in it, and the machine itself."""
