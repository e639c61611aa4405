# The full machine. Which services run is the instance's choice; what only this machine knows, its
# disks and its operators' keys among it, is in the instance's host.nix.
{ config, lib, ... }:
let
  # Neither an instance without a repository of its own nor one that was rendered earlier has it.
  hasKey = lib.any (one: one.name == "deploy-key") config.agency.instance.facts.secretsRequired;
in
{
  imports = [
    ./disk.nix
    ./login.nix
  ];

  networking.hostName = lib.mkDefault "agency";
  time.timeZone = lib.mkDefault "UTC";
  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";

  # The instance and this repository come from a private forge. An operator gives the forge the
  # public half; the private one is encrypted with the other secrets.
  agency.secrets = lib.mkIf hasKey { deploy-key = { }; };
  programs.ssh.extraConfig = lib.mkIf hasKey ''
    Match localuser root
      IdentityFile ${config.agency.secrets.deploy-key.path}
  '';
}
