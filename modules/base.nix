# What every machine of an agency has, whatever its features.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.agency;
in
{
  imports = [
    ./instance.nix
    ./secrets.nix
    ./units.nix
  ];

  options.agency = {
    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ../packages/agency { };
      defaultText = lib.literalMD "the package of this flake";
      description = "The agency itself: the program that every own unit runs.";
    };
    platform = mkOption {
      type = types.enum [
        "nixos"
        "portable"
      ];
      default = "nixos";
      description = "What the units are for: this machine, or files for a machine without Nix. Only their export sets it.";
    };
    prefix = mkOption {
      type = types.str;
      default = if cfg.platform == "portable" then "/opt/agency" else "${cfg.package}";
      defaultText = lib.literalExpression ''"''${config.agency.package}"'';
      description = "Directory whose `bin/agency` the units run.";
    };
    operatorKeys = mkOption {
      type = types.listOf types.singleLineStr;
      default = [ ];
      example = [ "ssh-ed25519 AAAA... alice" ];
      description = "SSH public keys that may log in as root to operate the machine. Empty: sshd stays off.";
    };
  };

  config = {
    environment.systemPackages = [ cfg.package ];

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
      # A machine without keys would lock its operator out at the first switch; the console stays.
      allowNoPasswordLogin = lib.mkDefault true;
    };

    services.journald.extraConfig = lib.mkDefault "SystemMaxUse=2G";
    nix.settings.experimental-features = [
      "nix-command"
      "flakes"
    ];
  };
}
