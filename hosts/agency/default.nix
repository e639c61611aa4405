# The full machine. Which services run is the instance's choice; disk and boot settings are
# defaults that an installer's hardware configuration overrides.
{ lib, ... }:
{
  networking.hostName = lib.mkDefault "agency";
  time.timeZone = lib.mkDefault "UTC";

  boot.loader = {
    systemd-boot.enable = lib.mkDefault true;
    efi.canTouchEfiVariables = lib.mkDefault true;
  };
  fileSystems = {
    "/" = {
      device = lib.mkDefault "/dev/disk/by-label/nixos";
      fsType = lib.mkDefault "ext4";
    };
    "/boot" = {
      device = lib.mkDefault "/dev/disk/by-label/boot";
      fsType = lib.mkDefault "vfat";
    };
  };

  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
  system.stateVersion = "26.05";
}
