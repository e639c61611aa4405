"""Engines of others: Drone, Woodpecker, Gitea Actions. Their runner is on this machine.

Their pipeline has one step, `agency recipes run RUN`, as the user that has the state of recipe CI.
So the result is read here, and a run is asked to end here, where it can tear its app down: the
runners kill a step without asking.
"""
