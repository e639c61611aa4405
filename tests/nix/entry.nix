# How a person arrives at a machine: the instance's own flake, disks, boot loaders, ways to log in.
{
  agencyWith,
  disko,
  failing,
  instances,
  lib,
  machine,
  shared,
}:
let
  project = (import ../../flake.nix).outputs {
    self.outPath = toString ../..;
    nixpkgs = {
      outPath = toString <nixpkgs>;
      lib = import (<nixpkgs> + "/lib");
    };
    sops-nix.outPath = toString <sops-nix>;
    home-manager = null;
    inherit disko;
    instance.outPath = toString ../../instance;
  };
  # The flake that `agency init` writes, with this project as its input.
  made = (import (/. + instances.made + "/flake.nix")).outputs {
    # Elsewhere it is in the store, and a path as well.
    self = /. + instances.made;
    agency = project;
  };

  facts =
    config:
    let
      messages = failing config;
    in
    {
      failing = messages;
      inherit (config) warnings;
      fileSystems = lib.mapAttrs (_: one: one.device) config.fileSystems;
      grub = config.boot.loader.grub.enable;
      grubDevices = config.boot.loader.grub.devices;
      systemdBoot = config.boot.loader.systemd-boot.enable;
      bootLimit = config.boot.loader.systemd-boot.configurationLimit;
      initrd = config.boot.initrd.availableKernelModules;
      toplevel = if messages == [ ] then config.system.build.toplevel.drvPath else null;
      partitioner = config.system.build.diskoScript.drvPath or null;
      installer = config.system.build.destroyFormatMount.drvPath or null;
    };
  host = module: (agencyWith "small" [ module ]).hosts.agency.config;
  onDisk =
    firmware:
    facts
      (import ../.. {
        inherit disko;
        instance = /. + instances.small;
        extraModules = [
          shared
          {
            agency.operatorKeys = [ "ssh-ed25519 AAAA alice" ];
            agency.disk = {
              device = "/dev/vda";
              inherit firmware;
            };
            system.stateVersion = "26.05";
          }
        ];
      }).hosts.agency.config;
  logIn =
    module:
    failing (host {
      imports = [
        machine
        shared
        module
      ];
      agency.operatorKeys = lib.mkForce [ ];
    });
in
{
  hasDisko = disko != null;
  offered = {
    example = lib.attrNames project.nixosConfigurations;
    own = lib.attrNames (agencyWith "full" [ ]).offered;
  };
  flake = {
    hosts = lib.attrNames made.nixosConfigurations;
    agency = if disko == null then null else facts made.nixosConfigurations.agency.config;
    domain = made.nixosConfigurations.agency.config.agency.domain;
  };
  disk = lib.optionalAttrs (disko != null) {
    uefi = onDisk "uefi";
    bios = onDisk "bios";
  };
  # A machine that was installed by hand: what nixos-generate-config and its operator wrote.
  brought = facts (host {
    imports = [ shared ];
    agency.operatorKeys = [ "ssh-ed25519 AAAA alice" ];
    fileSystems."/" = {
      device = "/dev/sda1";
      fsType = "ext4";
    };
    boot.loader.grub.enable = true;
    boot.loader.grub.device = "/dev/sda";
    system.stateVersion = "25.11";
  });
  deployKey =
    let
      config = host {
        imports = [
          machine
          shared
        ];
      };
    in
    {
      inherit (config.agency.secrets.deploy-key)
        owner
        mode
        class
        path
        ;
      ssh = config.programs.ssh.extraConfig;
      placed = config.sops.secrets ? deploy-key;
    };
  programs = map lib.getName (host machine).environment.systemPackages;
  logIn = {
    password = logIn { users.users.root.hashedPassword = "$y$j9T$x"; };
    passwordFile = logIn { users.users.root.hashedPasswordFile = "/run/secrets-for-users/root"; };
    wheelKey = logIn {
      services.openssh.enable = true;
      users.users.ann = {
        isNormalUser = true;
        extraGroups = [ "wheel" ];
        openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA ann" ];
      };
    };
    stranger = logIn {
      services.openssh.enable = true;
      users.users.ann = {
        isNormalUser = true;
        openssh.authorizedKeys.keys = [ "ssh-ed25519 AAAA ann" ];
      };
    };
  };
  accounts =
    let
      of =
        instance:
        (agencyWith instance [
          machine
          shared
        ]).hosts.agency.config.agency;
      matrix = of "made";
    in
    {
      alone = matrix.reconcilers.accounts.input or null;
      byProvider = (of "full").reconcilers ? accounts;
      consumers = matrix.secrets.matrix-registration-shared-secret.consumers;
    };
  package = {
    inherit (project.packages.x86_64-linux.agency) drvPath;
    programs = map lib.getName project.packages.x86_64-linux.agency.programs;
    spinUp = project.apps.x86_64-linux.spinup_smoke.program;
  };
}
