# The table by which ports have owners and agents are confined; features say what goes into its sets.
#
# A service whose port is above 1023 lets it go whenever it restarts, and whoever asks there with a
# token would give it to whoever listens then. So each such port names who answers on it.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  agency = config.agency;
  cfg = agency.heldPorts;
  firewall = import ./lib/agents-firewall.nix { inherit lib; };
  isUsed = lib.any (elements: elements != [ ]) (lib.attrValues agency.firewallElements);
  uidOf = user: (config.users.users.${user} or { uid = null; }).uid;
  # Users whose units would get another uid at each start.
  fixed = lib.filter (held: held.uid != null) (lib.attrValues cfg);
  usersOf =
    held:
    lib.optional (held.user != null) held.user ++ lib.optionals (held.clients != null) held.clients;

  held = types.submodule {
    options = {
      user = opt.nullOr types.str "User that answers there, beside root. Null: root alone, as where systemd holds the socket.";
      uid = opt.nullOr types.int "Uid that this user shall have, where it has none that is fixed. Of a unit with `DynamicUser`, it makes the user.";
      clients = opt.nullOr (types.listOf types.str) "Users that may connect, beside root. Null: whoever is on this machine, agents by their own rules.";
    };
  };
in
{
  options.agency = {
    heldPorts = opt.attrsOf held "Who answers on a service's loopback port, by its name in `agency.ports`. Nobody else is heard there. Every service that is sent a token, a password or a cookie is listed.";
    firewallElements = lib.mkOption {
      type = types.attrsOf (types.listOf types.str);
      default = { };
      internal = true;
      description = "Elements of each set of the table.";
    };
  };

  config = {
    agency.firewallElements = firewall.mergeElements (
      lib.mapAttrsToList (
        name: held:
        firewall.portElements {
          port = agency.ports.${name};
          servers = map uidOf (lib.optional (held.user != null) held.user);
          clients = if held.clients == null then null else map uidOf held.clients;
        }
      ) cfg
    );
    users.users = lib.listToAttrs (
      map (
        held:
        lib.nameValuePair held.user {
          inherit (held) uid;
          isSystemUser = true;
          group = held.user;
        }
      ) fixed
    );
    users.groups = lib.genAttrs (map (held: held.user) fixed) (_: { });
    networking.nftables = lib.mkIf isUsed {
      enable = true;
      tables.agency-agents = {
        family = "inet";
        content = firewall.content (
          lib.mapAttrs (name: _: agency.firewallElements.${name} or [ ]) firewall.sets
        );
      };
    };
    assertions = [
      {
        assertion = isUsed -> config.networking.nftables.enable;
        message = ''
          agency: agents are confined and ports are kept to their services by nftables, which is off.
          Remove networking.nftables.enable = false from this machine.
        '';
      }
    ]
    ++ lib.mapAttrsToList (
      name: held:
      let
        unknown = lib.filter (user: uidOf user == null) (usersOf held);
      in
      {
        assertion = unknown == [ ];
        message = ''
          agency.heldPorts.${name}: the firewall names users by uid, and ${lib.concatStringsSep ", " unknown} has none that is fixed.
          Set users.users.<name>.uid.
        '';
      }
    ) cfg;
  };
}
