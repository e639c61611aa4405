"""Making an agency from nothing, observing it, and signing what was seen."""
