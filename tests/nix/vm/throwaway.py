"""What the NixOS test driver runs: it gives `machine`."""

start_all()  # noqa: F821 - the driver's
machine.wait_for_unit("multi-user.target")  # noqa: F821
machine.wait_for_unit("agency-control.service")  # noqa: F821
machine.wait_for_unit("matrix-synapse.service")  # noqa: F821
machine.succeed("python3 -m pytest /etc/agency/guest-suite/guest")  # noqa: F821
