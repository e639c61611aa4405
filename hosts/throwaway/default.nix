# The small guest of a spin-up: homeserver, control plane and the instance's agents, no way in or
# out, nothing kept.
{ lib, modulesPath, ... }:
{
  imports = [ (modulesPath + "/profiles/minimal.nix") ];

  networking.hostName = lib.mkDefault "throwaway";
  networking.useDHCP = lib.mkDefault false;

  agency = {
    # Whatever the instance runs elsewhere.
    services.matrix.enable = true;

    # The control plane makes its room; a guest does not live long enough to drift.
    rooms.enable = false;

    matrix.memoryMax = lib.mkDefault "512M";
    control.memoryMax = lib.mkDefault "256M";
    postgresql.memoryMax = lib.mkDefault "256M";
  };

  boot.loader.grub.device = lib.mkDefault "/dev/vda";
  boot.initrd.availableKernelModules = [
    "virtio_pci"
    "virtio_blk"
    "virtio_scsi"
    "virtio_net"
  ];
  fileSystems."/" = {
    device = lib.mkDefault "/dev/disk/by-label/nixos";
    fsType = lib.mkDefault "ext4";
  };

  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
  system.stateVersion = "26.05";
}
