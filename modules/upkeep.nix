# Upkeep of a machine that runs for years: room on its disks, and for its memory to breathe.
{ config, lib, ... }:
let
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.upkeep;
  # Between upstream's defaults and anything that a host says, if only as its own default.
  fallback = lib.mkOverride 1400;
in
{
  imports = [ ./base.nix ];

  options.agency.upkeep = {
    enable = opt.bool true "Remove old generations, and compress memory before it runs out. A throwaway machine has no use for it.";
    generationDays =
      opt.between 1 3650 30
        "Days after which an older generation of the machine is removed.";
    bootGenerations =
      opt.between 2 100 10
        "Generations that the boot menu offers. Their kernels must fit on the boot partition.";
  };

  config = lib.mkIf cfg.enable {
    nix.gc = {
      automatic = lib.mkDefault true;
      dates = lib.mkDefault "weekly";
      options = lib.mkDefault "--delete-older-than ${toString cfg.generationDays}d";
    };
    boot.loader = {
      systemd-boot = {
        configurationLimit = fallback cfg.bootGenerations;
        # Whoever edits a kernel's command line at the console is root.
        editor = fallback false;
      };
      grub.configurationLimit = fallback cfg.bootGenerations;
    };
    # There is no swap on a disk, where the memory of a service with secrets would lie.
    zramSwap = {
      enable = lib.mkDefault true;
      memoryPercent = lib.mkDefault 25;
    };
  };
}
