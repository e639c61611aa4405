"""What the NixOS test driver runs: it gives `machine`."""

start_all()  # noqa: F821 - the driver's
machine.wait_for_unit("multi-user.target")  # noqa: F821
machine.wait_for_unit("agency-control.service")  # noqa: F821
machine.wait_for_unit("matrix-synapse.service")  # noqa: F821
machine.wait_until_succeeds("systemctl is-system-running", timeout=120)  # noqa: F821
# The very suite that spin-ups run; without a host it would collect nothing, and pytest exit 5.
machine.succeed(  # noqa: F821
    "python3 -m pytest /etc/agency/guest-suite/guest --guest-host local"
    " -p no:cacheprovider --import-mode=importlib -ra"
    " --override-ini=pythonpath=/etc/agency/guest-suite/guest",
    timeout=600,
)
