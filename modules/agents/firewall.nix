# What agents may reach: nothing, but for what each declares; and an agent's own loopback ports
# are its alone.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  agency = config.agency;
  agencyLib = import ../lib { inherit lib; };
  firewall = import ../lib/agents-firewall.nix { inherit lib; };
  agents = lib.filterAttrs (_: agent: agent.uid != null) agency.agents;

  rule = types.submodule {
    options = {
      to = mkOption {
        type = agencyLib.types.address;
        example = "192.0.2.0/24";
        description = "Where to: an address or a CIDR block.";
      };
      protocol = mkOption {
        type = types.enum [
          "tcp"
          "udp"
        ];
        default = "tcp";
        description = "Transport protocol.";
      };
      port = mkOption {
        type = types.port;
        default = 443;
        description = "Destination port.";
      };
    };
  };
in
{
  options.agency.agents = mkOption {
    type = types.attrsOf (
      types.submodule {
        options = {
          egress = mkOption {
            type = types.listOf rule;
            default = [ ];
            description = "What it may reach beyond this machine. Nothing else leaves it.";
          };
          loopback = mkOption {
            type = types.listOf types.port;
            default = [ ];
            description = "Loopback TCP ports of services that it may use.";
          };
        };
      }
    );
  };

  config = lib.mkIf (agents != { }) {
    networking.nftables.enable = true;
    networking.nftables.tables.agency-agents = {
      family = "inet";
      content = firewall.content (
        firewall.mergeElements (
          lib.mapAttrsToList (
            _: agent: firewall.elements (agent // { controlUid = agency.control.uid; })
          ) agents
        )
      );
    };
    assertions = [
      {
        assertion = config.networking.nftables.enable;
        message = ''
          agency.agents: agents are confined by nftables, which is off.
          Remove networking.nftables.enable = false from this machine.
        '';
      }
    ];
  };
}
