# Disk and boot loader of a machine whose disk the installation may take whole: one layout for
# UEFI and BIOS, made by disko. A machine installed in another way brings a hardware configuration,
# and nothing here holds for it.
{
  config,
  lib,
  options,
  ...
}:
let
  inherit (lib) types;
  opt = import ../../modules/lib/options.nix { inherit lib; };
  cfg = config.agency.disk;
  isUefi = cfg.firmware == "uefi";
  hasDisko = options ? disko;

  fileSystem = format: mountpoint: {
    type = "filesystem";
    inherit format mountpoint;
  };
  layout = {
    type = "disk";
    inherit (cfg) device;
    content = {
      type = "gpt";
      partitions =
        (
          if isUefi then
            {
              ESP = {
                size = "1G";
                type = "EF00";
                content = fileSystem "vfat" "/boot" // {
                  mountOptions = [ "umask=0077" ];
                };
              };
            }
          else
            {
              # Where GRUB lies on a disk with a GPT.
              bios = {
                size = "1M";
                type = "EF02";
              };
            }
        )
        // {
          root = {
            size = "100%";
            content = fileSystem "ext4" "/";
          };
        };
    };
  };
in
{
  options.agency.disk = {
    device =
      opt.nullOr types.path "Disk that the installation empties and partitions. Null: the machine's own hardware configuration says what its disks are."
      // {
        example = "/dev/vda";
      };
    firmware = opt.oneOf [
      "uefi"
      "bios"
    ] "uefi" "What starts the machine; it decides the boot loader. Only with a device.";
  };

  config = lib.mkIf (cfg.device != null) (
    {
      boot.loader = {
        systemd-boot.enable = lib.mkDefault isUefi;
        efi.canTouchEfiVariables = lib.mkDefault isUefi;
        # The partition for it is small, and a switch that cannot write to it fails.
        systemd-boot.configurationLimit = lib.mkDefault 10;
      };
      # Of virtual machines and of most servers; a hardware configuration adds what it found.
      boot.initrd.availableKernelModules = [
        "ahci"
        "nvme"
        "sd_mod"
        "usb_storage"
        "virtio_blk"
        "virtio_pci"
        "virtio_scsi"
        "xhci_pci"
      ];
      assertions = [
        {
          assertion = hasDisko;
          message = ''
            agency.disk: ${toString cfg.device} is partitioned by disko, which is not part of this machine.
            Add the module of nix-community/disko to the host (this flake does), or leave agency.disk.device unset and import a hardware configuration.
          '';
        }
      ];
    }
    // lib.optionalAttrs hasDisko { disko.devices.disk.main = layout; }
  );
}
