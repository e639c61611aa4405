# What lets a guest without a network switch to its own source: Nix asks nobody, and what the
# source's flake takes as inputs is in the image (see `sources` in default.nix).
{ lib, ... }:
{
  nix.settings = {
    substituters = lib.mkForce [ ];
    flake-registry = "";
  };
  nix.channel.enable = false;

  # What Nixpkgs puts into images for Incus beside that: a channel, a configuration to edit, a way
  # in without a password.
  installer.cloneConfig = false;
  system.installer.channel.enable = false;
  users.users.root.hashedPassword = "!";
  services.openssh.enable = false;
}
