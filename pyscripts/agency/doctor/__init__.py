"""One look at what usually goes wrong on a machine and with an instance, each with its remedy.

commands.py ──▶ runner.py: every check in a thread of its own, within one time limit
                  └──▶ registry.py ──▶ programs, storage, machine, instance, secrets, local
                                         each yields findings and changes nothing
"""
