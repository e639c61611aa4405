# The rooms of the instance: the control room and its space, restored to the declared state.
{ config, lib, ... }:
let
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.rooms;
  agency = config.agency;
  facts = builtins.fromJSON (
    builtins.readFile (agency.instance.directory + "/generated/control.json")
  );
  # Who may look or approve is invited, too, and has no power in the room.
  others = (facts.approvers or [ ]) ++ (facts.viewers or [ ]);
in
{
  imports = [
    ./control
    ./matrix.nix
    ./reconcilers.nix
  ];

  options.agency.rooms.enable =
    opt.bool agency.control.enable "The reconciler of the control room and its space. Without it, the control plane makes the room once, at its start."
    // opt.md "whether the control plane runs here";

  config = lib.mkIf cfg.enable {
    agency.reconcilers.synapse-rooms = {
      description = "Control room and space";
      after = [ "matrix-synapse.service" ];
      secrets = [ "matrix-as-token" ];
      input = {
        homeserverUrl = "http://127.0.0.1:${toString agency.ports.synapse}";
        inherit (facts) instance domain operators;
        botId = facts.bot_id;
        controlRoomAlias = facts.control_room_alias;
        agents = lib.mapAttrsToList (_: agent: { inherit (agent) matrixId; }) agency.agents;
      }
      // lib.optionalAttrs (others != [ ]) { members = others; };
    };
  };
}
