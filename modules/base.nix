# What every machine of an agency has, whatever its features.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency;
in
{
  imports = [
    ./firewall.nix
    ./instance.nix
    ./secrets.nix
    ./units.nix
  ];

  options.agency = {
    package =
      opt.package (pkgs.callPackage ../packages/agency
        { }
      ) "The agency itself: the program that every own unit runs."
      // opt.md "the package of this flake";
    platform =
      opt.oneOf
        [
          "nixos"
          "portable"
        ]
        "nixos"
        "What the units are for: this machine, or files for a machine without Nix. Only their export sets it.";
    prefix =
      opt.str (
        if cfg.platform == "portable" then "/opt/agency" else "${cfg.package}"
      ) "Directory whose `bin/agency` the units run."
      // opt.code ''"''${config.agency.package}"'';
    operatorKeys =
      opt.listOf types.singleLineStr "SSH public keys that may log in as root to operate the machine. Empty: sshd stays off."
      // {
        example = [ "ssh-ed25519 AAAA... alice" ];
      };
  };

  config = {
    environment.systemPackages = [ cfg.package ];
    # Nix fetches the instance and this repository with it; a fresh machine has none.
    programs.git.enable = lib.mkDefault true;

    networking.firewall.enable = lib.mkDefault true;
    networking.nftables.enable = lib.mkDefault true;

    services.openssh = lib.mkIf (cfg.operatorKeys != [ ]) {
      enable = lib.mkDefault true;
      settings = {
        PasswordAuthentication = lib.mkDefault false;
        KbdInteractiveAuthentication = lib.mkDefault false;
        PermitRootLogin = lib.mkDefault "prohibit-password";
      };
    };

    users = {
      mutableUsers = lib.mkDefault false;
      users.root.openssh.authorizedKeys.keys = cfg.operatorKeys;
    };

    # The memory of a service that crashes holds its tokens. That it crashed is in the journal.
    systemd.coredump.settings.Coredump = {
      Storage = lib.mkDefault "none";
      ProcessSizeMax = lib.mkDefault 0;
    };
    services.journald.extraConfig = lib.mkDefault "SystemMaxUse=2G";
    nix.settings.experimental-features = [
      "nix-command"
      "flakes"
    ];
  };
}
