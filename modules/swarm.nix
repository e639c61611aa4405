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
    insideInterfaces = opt.is (types.listOf types.str) [
      "br-*"
      "cni0"
      "docker0"
      "docker_gwbridge"
      "incusbr0"
      "lo"
      "veth*"
    ] "Interfaces from which ports that containers publish can be reached. `*` stands for any ending.";
  };

  config = lib.mkIf cfg.enable {
    virtualisation.docker = {
      enable = true;
      # A swarm cannot be restored live.
      liveRestore = false;
      autoPrune = {
        enable = true;
        dates = "weekly";
        flags = [
          "--all"
          "--filter=until=168h"
        ];
      };
    };

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
        assertion = members == [ ];
        message = ''
          agency.swarm: ${lib.concatStringsSep ", " members} would be root by way of Docker.
          Remove them from the group ${cfg.dockerGroup}; units that deploy get it from systemd.
        '';
      }
    ];
  };
}
