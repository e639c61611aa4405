# NixOS tests: real machines, for where there is a builder with KVM.
{
  pkgs,
  lib,
  modules,
}:
let
  testinfra = pkgs.python3.withPackages (packages: [
    packages.pytest
    packages.pytest-testinfra
  ]);
  guestSuite = lib.fileset.toSource {
    root = ../..;
    fileset = lib.fileset.maybeMissing ../../guest;
  };
in
{
  # The throwaway machine boots, its units come up, and the testinfra suite holds on it.
  throwaway = pkgs.testers.runNixOSTest {
    name = "agency-throwaway";
    # The host names its own platform.
    node.pkgsReadOnly = false;
    nodes.machine =
      { lib, ... }:
      {
        imports = [
          modules.default
          ../../../hosts/throwaway
        ];
        networking.hostName = "machine";
        agency.instance.directory = ../../../instance;
        environment.systemPackages = [ testinfra ];
        virtualisation.memorySize = lib.mkDefault 2048;
      };
    testScript = builtins.readFile ./throwaway.py;
    defaults.environment.etc."agency/guest-suite".source = guestSuite;
  };
}
