# Settings that a person makes before anybody may switch to a host, for tests' machines.
{ lib, ... }:
{
  agency.operatorKeys = lib.mkDefault [ "ssh-ed25519 AAAA alice" ];
  fileSystems."/" = lib.mkDefault {
    device = "/dev/disk/by-label/nixos";
    fsType = "ext4";
  };
  boot.loader.grub.device = lib.mkDefault "/dev/vda";
  system.stateVersion = "26.05";
}
