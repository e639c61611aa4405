# The facts of each host whose units the tests walk, from one evaluation.
#
#   instances  name -> directory of a rendered instance
{ instances }:
let
  host =
    instance: extra:
    (import ../../.. {
      instance = /. + instance;
      extraModules = [
        ../../../modules/lib/everything.nix
        ../sample.nix
      ]
      ++ extra;
    }).hosts.agency;
  full = host instances.builtin [ ];
  inherit (full.pkgs) lib;
  facts =
    one:
    import ./facts.nix {
      inherit lib;
      inherit (one) config;
    };
  shared.nixpkgs.pkgs = full.pkgs;
  plain = extra: (host instances.builtin ([ shared ] ++ extra)).config;
  federating = plain [ { agency.matrix.federation = true; } ];
  floating = plain [ { agency.gitlab-runner.imageDigest = lib.mkForce null; } ];
  named = plain [
    {
      agency.gitlab-runner.imageDigest = lib.mkForce null;
      agency.gitlab-runner.image = "registry.example.org/debian@sha256:${
        lib.concatStrings (lib.genList (_: "0") 64)
      }";
    }
  ];
  away = plain [
    {
      agency.backup.repository = lib.mkForce "rest:https://backup.example.org/agency/";
      agency.backup.appendOnly = true;
    }
  ];
  withKvm = plain [ { boot.kernelModules = [ "kvm-intel" ]; } ];
  homely = plain [
    (
      { lib, ... }:
      {
        # Stands for home-manager, of which its place in the options is all that is asked.
        options.home-manager = lib.mkOption { type = lib.types.anything; };
        config.agency.agents.pm.homeModules = [ { } ];
      }
    )
  ];
  inherit (full) config;
  jobFlags = one: one.services.gitlab-runner.services.protected.registrationFlags;
in
{
  builtin = facts full;
  # The guest of a spin-up, whose secrets are made at its boot.
  throwaway = facts (import ../../.. { instance = /. + instances.ephemeral; }).hosts.throwaway;
  said = {
    denied = config.networking.dhcpcd.denyInterfaces;
    rules = map builtins.fromJSON config.services.prometheus.rules;
    node = config.services.prometheus.exporters.node.extraFlags;
    documents = lib.attrNames config.agency.edge.sites.well-known.files;
    federating = federating.agency.edge.sites.well-known.files;
    ports = federating.networking.firewall.allowedTCPPorts;
    flags = jobFlags config;
    flagsWithKvm = jobFlags withKvm;
    images = lib.mapAttrs (_: one: {
      image = one.services.gitlab-runner.services.protected.dockerImage;
      inherit (one) warnings;
    }) { inherit config floating named; };
    backup = {
      tree = config.agency.backup.trees.gitlab;
      gitlab = config.services.gitlab.backup.path;
      own = builtins.fromJSON config.environment.etc."agency/backup.json".text;
      away = builtins.fromJSON away.environment.etc."agency/backup.json".text;
      awayCredentials = lib.attrNames (
        builtins.fromJSON away.environment.etc."agency/backup.credentials.json".text
      );
      awayUnit = away.systemd.units."agency-backup.service".text;
    };
    gc = { inherit (config.nix.gc) automatic options; };
    boot = {
      inherit (config.boot.loader.systemd-boot) configurationLimit editor;
      grub = config.boot.loader.grub.configurationLimit;
    };
    zram = config.zramSwap.enable;
    throwawayZram =
      (import ../../.. { instance = /. + instances.builtin; }).hosts.throwaway.config.zramSwap.enable;
    docker = config.virtualisation.docker.daemon.settings;
    containers = config.systemd.slices.docker-apps.sliceConfig;
    inside = config.agency.swarm.insideInterfaces;
    k3s = config.services.k3s.extraFlags;
    reserved = config.services.k3s.extraKubeletConfig.systemReserved;
    memory = config.agency.memory.parts;
    pools = config.virtualisation.incus.preseed;
    denyGroups = config.services.openssh.settings.DenyGroups;
    locations = lib.mapAttrs (_: site: site.locations."/" or { }) config.services.nginx.virtualHosts;
    sites = lib.mapAttrs (_: site: site.host) config.agency.edge.sites;
    extra = lib.mapAttrs (
      _: site: lib.concatMapStrings (one: one.extraConfig) (lib.attrValues site.locations)
    ) config.services.nginx.virtualHosts;
    nginx = {
      events = config.services.nginx.eventsConfig;
      main = config.services.nginx.appendConfig;
      stream = config.services.nginx.streamConfig;
      names = config.services.nginx.serverNamesHashBucketSize;
    };
    home = homely.systemd.units."agency-agent@pm.service".text;
    credentials = lib.mapAttrs (_: file: file.text) (
      lib.filterAttrs (name: _: lib.hasSuffix ".credentials.json" name) config.environment.etc
    );
    systems = {
      asked =
        (import ../../.. {
          instance = /. + instances.builtin;
          system = "aarch64-linux";
        }).hosts.agency.config.nixpkgs.hostPlatform.system;
      unasked = config.nixpkgs.hostPlatform.system;
    };
    homeless = homely.systemd.units."agency-agent@dev-two.service".text;
  };
  woodpecker = facts (host instances.woodpecker [ shared ]);
  drone = facts (host instances.drone [ { agency.ci.drone.acceptLicence = true; } ]);
}
