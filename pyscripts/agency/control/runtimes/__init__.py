"""Runtimes of agents, behind one interface."""
