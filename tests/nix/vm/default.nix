# NixOS tests: real machines, for where there is a builder with KVM.
{
  pkgs,
  lib,
  modules,
}:
let
  # The suite of throwaway guests, word for word.
  guestSuite = lib.fileset.toSource {
    root = ../..;
    fileset = lib.fileset.fileFilter (file: file.hasExt "py") ../../guest;
  };
in
{
  # The throwaway machine boots, its units come up, and the testinfra suite holds on it.
  throwaway = pkgs.testers.runNixOSTest {
    name = "agency-throwaway";
    # The host names its own platform.
    node.pkgsReadOnly = false;
    nodes.machine =
      {
        config,
        lib,
        pkgs,
        ...
      }:
      {
        imports = [
          modules.default
          ../../../hosts/throwaway
        ];
        networking.hostName = "machine";
        agency.instance.directory = ../../../instance;
        # The suite asks the agency's own naming functions.
        environment.systemPackages = [
          (pkgs.python3.withPackages (packages: [
            packages.pytest
            packages.pytest-testinfra
            config.agency.package.module
          ]))
        ];
        environment.etc."agency/guest-suite".source = guestSuite;
        virtualisation.memorySize = lib.mkDefault 2048;
      };
    testScript = builtins.readFile ./throwaway.py;
  };
}
