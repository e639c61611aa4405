# The full machine. Which services run is the instance's choice; what only this machine knows, its
# disks and its operators' keys among it, is in the instance's host.nix.
{ lib, ... }:
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
  agency.secrets.deploy-key = { };
  programs.ssh.extraConfig = ''
    Match localuser root
      IdentityFile /run/secrets/deploy-key
  '';
}
