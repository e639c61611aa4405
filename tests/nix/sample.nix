# What features need from a person before they can be on, for every agent of a test's instance.
{ lib, ... }:
{
  imports = [ ./machine.nix ];
  options.agency.agents = lib.mkOption {
    type = lib.types.attrsOf (
      lib.types.submodule {
        config = {
          ssh.publicKey = lib.mkDefault "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== agent";
          egress = lib.mkDefault [
            { to = "192.0.2.0/24"; }
            {
              to = "2001:db8::1";
              port = 993;
            }
          ];
          loopback = lib.mkDefault [ 8008 ];
        };
      }
    );
  };
  config.agency.gitlab-runner.imageDigest = lib.mkDefault "sha256:${
    lib.concatStrings (lib.genList (_: "0123456789abcdef") 4)
  }";
  # Everything at once, which no machine of the default size has room for.
  config.agency.memory.machine = lib.mkDefault "64G";
  # Off by itself: a way in that nobody asked for.
  config.agency.control.api.enable = lib.mkDefault true;
}
