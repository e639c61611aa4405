"""Engine of the reconcilers: observe, plan, apply, under a lock."""
