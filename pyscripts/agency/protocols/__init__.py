"""What two programs of the agency say to each other."""
