# What agents may reach: nothing, but for what each declares; and an agent's own loopback ports
# are its alone. No agent runs without it.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  opt = import ../lib/options.nix { inherit lib; };
  agency = config.agency;
  agencyLib = import ../lib { inherit lib; };
  firewall = import ../lib/agents-firewall.nix { inherit lib; };
  agents = lib.filterAttrs (_: agent: agent.uid != null) agency.agents;

  rule = types.submodule {
    options = {
      to = opt.must agencyLib.types.address "Where to: an address or a CIDR block." // {
        example = "192.0.2.0/24";
      };
      protocol = opt.oneOf [
        "tcp"
        "udp"
      ] "tcp" "Transport protocol.";
      port = opt.port 443 "Destination port.";
    };
  };

  confined =
    { name, ... }:
    {
      config = lib.mkIf (lib.hasPrefix "agency-agent" name && lib.hasSuffix "@" name) {
        # An agent stops with the firewall, and does not start without it. A reload stops no agent.
        requires = [ "nftables.service" ];
        after = [
          "nftables.service"
          "nscd.service"
          "systemd-resolved.service"
        ];
        # Services there act under their own uid, past the rules for agents' uids: they resolve
        # names, build what fetches from anywhere, or take a client's word for its address.
        serviceConfig.InaccessiblePaths = map (path: "-${path}") [
          "/nix/var/nix/daemon-socket"
          "/run/dbus"
          "/run/gitlab"
          "/run/nscd"
          "/run/systemd/resolve"
        ];
      };
    };
in
{
  options.agency.units = mkOption {
    type = types.attrsOf (types.submodule confined);
  };
  options.agency.agents = mkOption {
    type = types.attrsOf (
      types.submodule {
        options = {
          egress = opt.listOf rule "What it may reach beyond this machine. Nothing else leaves it.";
          loopback = opt.listOf types.port "Loopback TCP ports of services that it may use.";
        };
      }
    );
  };

  config = lib.mkIf (agents != { }) {
    # Agents are kept out of the directory that exists at their start, so it must not be replaced.
    systemd.services.nscd = lib.mkIf config.services.nscd.enable {
      serviceConfig.RuntimeDirectoryPreserve = true;
    };
    agency.firewallElements = firewall.mergeElements (
      lib.mapAttrsToList (
        _: agent: firewall.elements (agent // { controlUid = agency.control.uid; })
      ) agents
    );
  };
}
