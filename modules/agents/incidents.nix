# What went wrong and how it was mended: a shared record that agents add to and cannot rewrite.
{ config, lib, ... }:
let
  opt = import ../lib/options.nix { inherit lib; };
  agency = config.agency;
  cfg = agency.incidents;
  inherit ((import ../lib { inherit lib; }).naming) agents serviceUids;
  inherit (agents) group;
  unit = "agency-incidents";
in
{
  options.agency.incidents = {
    enable = opt.enable "The shared record of incidents, and its escalation to the operators.";
    escalate =
      opt.bool (
        agency.control.enable or false && agency.observability.enable or false
      ) "Tell critical incidents in the control room, by the control plane's webhook of alerts."
      // opt.md "with the control plane and observability, which has the webhook's token";
    checkEvery = opt.str "5min" "How often critical incidents are looked for, as a systemd time span.";
  };

  config = lib.mkIf cfg.enable {
    # Sticky: an agent adds files and removes none but its own.
    systemd.tmpfiles.settings.agency-incidents."/var/lib/agency-incidents".d = {
      user = "root";
      inherit group;
      mode = "1770";
    };
    agency.units.${unit} = lib.mkIf cfg.escalate {
      description = "Escalate critical incidents of agents";
      command = [
        "workspace"
        "incidents"
        "escalate"
        "--url"
        "http://127.0.0.1:${toString agency.ports.control}/alerts"
      ];
      type = "oneshot";
      user = unit;
      inherit group;
      secrets = [ "alertmanager-token" ];
      network = "loopback";
      timer.OnUnitInactiveSec = cfg.checkEvery;
      timer.OnBootSec = "1min";
      serviceConfig = {
        StateDirectory = "agency-incidents-escalated";
        TimeoutStartSec = "1min";
      };
    };
    # The firewall knows who may speak to the control plane by uid.
    agency.heldPorts = lib.mkIf cfg.escalate { control.clients = [ unit ]; };
    users.users.${unit} = lib.mkIf cfg.escalate {
      isSystemUser = true;
      uid = serviceUids.incidents;
      inherit group;
    };
  };
}
