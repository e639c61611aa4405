# What went wrong and how it was mended: a shared record that agents add to and cannot rewrite.
{ config, lib, ... }:
let
  opt = import ../lib/options.nix { inherit lib; };
  cfg = config.agency.incidents;
  inherit ((import ../lib { inherit lib; }).naming.agents) group;
in
{
  options.agency.incidents = {
    enable = opt.enable "The shared record of incidents, and its escalation to the operators.";
    checkEvery = opt.str "5min" "How often critical incidents are looked for, as a systemd time span.";
  };

  config = lib.mkIf cfg.enable {
    # Sticky: an agent adds files and removes none but its own.
    systemd.tmpfiles.settings.agency-incidents."/var/lib/agency-incidents".d = {
      user = "root";
      inherit group;
      mode = "1770";
    };
    agency.units.agency-incidents = {
      description = "Escalate critical incidents of agents";
      command = [
        "workspace"
        "incidents"
        "escalate"
      ];
      type = "oneshot";
      inherit group;
      network = "loopback";
      timer.OnUnitInactiveSec = cfg.checkEvery;
      timer.OnBootSec = "1min";
      serviceConfig = {
        StateDirectory = "agency-incidents-escalated";
        TimeoutStartSec = "1min";
      };
    };
  };
}
