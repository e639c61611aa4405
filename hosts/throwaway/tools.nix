# What whoever spins a guest up calls in it: a Python that has the agency, and node for the OpenID
# provider that people of the guest log in through, by MechanicalSoup.
{
  config,
  lib,
  pkgs,
  ...
}:
{
  environment.systemPackages = [
    # It would have a program `agency` too: that of the package itself is meant.
    (lib.lowPrio (
      pkgs.python3.withPackages (packages: [
        config.agency.package.module
        packages.mechanicalsoup
      ])
    ))
    pkgs.nodejs-slim
  ];
}
