# Docker as a swarm of one node, where recipes are deployed.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.swarm;
  agency = config.agency;
  slice = "docker-apps.slice";
  # Names that this machine's configuration gives to interfaces of its own.
  ownInterfaces = lib.unique (
    lib.concatMap (kind: lib.attrNames config.networking.${kind}) [
      "bonds"
      "bridges"
      "interfaces"
      "macvlans"
      "vlans"
    ]
    ++ map (one: one.netdevConfig.Name or "") (lib.attrValues config.systemd.network.netdevs)
  );
  isInside =
    name:
    name != "lo"
    && lib.any (
      one: if lib.hasSuffix "*" one then lib.hasPrefix (lib.removeSuffix "*" one) name else one == name
    ) cfg.insideInterfaces;
  outside = lib.filter isInside ownInterfaces;
  members =
    config.users.groups.${cfg.dockerGroup}.members
    ++ lib.attrNames (
      lib.filterAttrs (
        _: user: user.group == cfg.dockerGroup || lib.elem cfg.dockerGroup user.extraGroups
      ) config.users.users
    );
in
{
  imports = [
    ./memory.nix
    ./base.nix
    ./reconcilers.nix
  ];

  options.agency.swarm = {
    enable = opt.service agency.services "swarm" "Docker, and a swarm of this machine alone.";
    advertiseAddress = opt.str "127.0.0.1" "Address of the swarm. Loopback is enough for one node, and closed to others.";
    network =
      opt.matching "[a-z0-9][a-z0-9_.-]{0,62}" "proxy"
        "Overlay network that joins apps and their proxy; recipes know it by this name.";
    dockerGroup =
      opt.fixed types.str "docker"
        "Group that may use Docker, which is as good as root: for units that deploy, never for people or agents.";
    memoryMax = opt.str "6G" "Most memory that all containers may use together.";
    insideInterfaces = opt.is (types.listOf types.str) [
      "br-*"
      "cni0"
      "docker0"
      "docker_gwbridge"
      "incusbr0"
      "lo"
    ] "Interfaces from which ports that containers publish can be reached. `*` stands for any ending.";
  };

  config = lib.mkIf cfg.enable {
    virtualisation.docker = {
      enable = true;
      # A swarm cannot be restored live.
      liveRestore = false;
      # Containers are Docker's children, not its unit's: without it nothing limits all of them.
      daemon.settings.cgroup-parent = slice;
      autoPrune = {
        enable = true;
        dates = "weekly";
        flags = [
          "--all"
          "--filter=until=168h"
          "--filter=label!=agency.keep" # the agents' image, and what agents that are stopped left
        ];
      };
    };

    systemd.slices.docker-apps = {
      description = "Containers of Docker: apps under test, and jobs";
      sliceConfig.MemoryMax = cfg.memoryMax;
    };
    agency.memory.parts.containers = cfg.memoryMax;

    # Docker publishes ports past the firewall of NixOS. From outside, nothing but the edge answers.
    networking.nftables.tables.agency-docker = {
      family = "inet";
      content = ''
        chain forward {
          type filter hook forward priority filter - 5; policy accept;
          ${lib.concatMapStrings (one: "iifname \"${one}\" accept\n") cfg.insideInterfaces}
          ct state new ct status dnat counter drop
        }
      '';
    };

    agency.reconcilers = {
      swarm-init = {
        description = "A swarm of one node";
        after = [ "docker.service" ];
        input = { inherit (cfg) advertiseAddress; };
        serviceConfig.SupplementaryGroups = [ cfg.dockerGroup ];
      };
      proxy-network = {
        description = "The network of apps and their proxy";
        after = [ "agency-reconcile-swarm-init.service" ];
        input.name = cfg.network;
        serviceConfig.SupplementaryGroups = [ cfg.dockerGroup ];
      };
    };

    assertions = [
      {
        assertion = outside == [ ];
        message = ''
          agency.swarm: ${lib.concatStringsSep ", " outside} is an interface of this machine and counts as one of its containers, so ports that containers publish could be reached from there.
          Give it a name that none of agency.swarm.insideInterfaces covers.
        '';
      }
      {
        assertion = members == [ ];
        message = ''
          agency.swarm: ${lib.concatStringsSep ", " members} would be root by way of Docker.
          Remove them from the group ${cfg.dockerGroup}; units that deploy get it from systemd.
        '';
      }
    ];
  };
}
