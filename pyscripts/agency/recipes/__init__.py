"""Recipe CI: comment bridge, runner, harness, dashboard."""
