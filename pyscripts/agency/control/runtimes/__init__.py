"""What runs agents, behind one interface."""
