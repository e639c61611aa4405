# The project's own units: each is one call of `agency`, hardened by one function.
#
# A feature declares `agency.units.<name>`; from that come the systemd service (and socket and
# timer), the consumers of its secrets, the export for machines without Nix, and the tests that
# hold for every own unit.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency;
  agencyLib = import ./lib { inherit lib; };
  inherit (agencyLib.preview) unwritten featureOf;

  unitModule =
    { name, config, ... }:
    {
      options = {
        description = opt.must types.singleLineStr "What the unit is, in one line.";
        command =
          opt.must (types.nonEmptyListOf agencyLib.types.argument) "Arguments of `agency`. `%i`, `%d` and the other specifiers of systemd are its to expand."
          // {
            example = [
              "control"
              "run"
            ];
          };
        type = opt.oneOf [
          "exec"
          "oneshot"
        ] "exec" "How systemd starts it: a service that stays, or one that ends.";
        user = opt.nullOr types.str "User it runs as. Null: a dynamic user of its own.";
        group = opt.nullOr types.str "Group it runs as. Null: the user's own.";
        network = opt.is (types.enum (
          lib.attrNames agencyLib.hardening.networks
        )) "none" "What it may reach: nothing, this machine, or anything that the firewall lets out.";
        home = opt.nullOr types.str "The one home directory that it sees. Null: none." // {
          example = "/home/agent-%i";
        };
        secrets = opt.listOf types.str "Names of `agency.secrets` it gets as credentials of the same name. It is restarted when one changes.";
        credentials =
          opt.attrsOf types.str "Further credentials, by name, and the file each is read from at start."
          // {
            example = {
              "acp-token" = "/run/agency-control/agents/%i.token";
            };
          };
        path = opt.listOf types.package "Packages whose programs it calls.";
        instances =
          opt.is (types.nullOr (types.listOf types.str)) (
            if lib.hasSuffix "@" name then [ ] else null
          ) "For a template: the instances that are started with the machine."
          // opt.md "none for a template, null for any other unit";
        relax = opt.attrsOf types.anything "What of the hardening does not hold for this unit; say why beside it.";
        serviceConfig = opt.attrsOf types.anything "Further settings of the [Service] section: limits, directories, restarts.";
        unitConfig = opt.attrsOf types.anything "Further settings of the [Unit] section.";
        socket = opt.nullOr (types.attrsOf types.anything) "The [Socket] section of a socket that starts the unit.";
        timer =
          opt.nullOr (types.attrsOf types.anything) "The [Timer] section of a timer that starts the unit."
          // {
            example = {
              OnCalendar = "daily";
            };
          };
        restartTriggers = opt.listOf types.anything "Values whose change restarts the unit at a switch.";
        restartIfChanged = opt.bool true "Whether a switch restarts the unit when its definition changed.";
      }
      // lib.genAttrs orderings (which: opt.listOf types.str "As ${which} in a unit file.");
      config.wantedBy = lib.mkIf (
        config.instances == null && config.socket == null && config.timer == null
      ) (lib.mkDefault [ "multi-user.target" ]);
    };

  orderings = [
    "after"
    "before"
    "wants"
    "requires"
    "partOf"
    "bindsTo"
    "wantedBy"
    "requiredBy"
  ];

  exec = unit: lib.concatStringsSep " " ([ "${cfg.prefix}/bin/agency" ] ++ unit.command);

  serviceOf =
    unit:
    lib.getAttrs orderings unit
    // {
      inherit (unit)
        description
        path
        unitConfig
        restartIfChanged
        restartTriggers
        ;
      enableDefaultPath = false;
      serviceConfig =
        agencyLib.hardening.harden { inherit (unit) network home relax; }
        // {
          Type = unit.type;
          ExecStart = exec unit;
        }
        // (
          if unit.user == null then
            { DynamicUser = true; }
          else
            { User = unit.user; } // lib.optionalAttrs (unit.group != null) { Group = unit.group; }
        )
        // lib.optionalAttrs (unit.type == "exec") {
          Restart = "on-failure";
          RestartSec = "2s";
        }
        # It says that its program is not written, and would say nothing else the next time.
        // lib.optionalAttrs (unit.type == "exec" && featureOf unit.command != null) {
          RestartPreventExitStatus = 3;
        }
        // lib.optionalAttrs (unit.secrets != [ ] || unit.credentials != { }) {
          LoadCredential =
            map (secret: cfg.secrets.${secret}.credential) unit.secrets
            ++ lib.mapAttrsToList (name: file: "${name}:${file}") unit.credentials;
        }
        // unit.serviceConfig;
    };

  withPart = part: lib.filterAttrs (_: unit: unit.${part} != null) cfg.units;
  instancesOf =
    name: unit:
    map (instance: "${name}${instance}.service") (
      lib.optionals (unit.instances != null) unit.instances
    );
in
{
  imports = [ ./secrets.nix ];

  options.agency.units = opt.attrsOf (types.submodule unitModule) "The project's own units, by the name of the service without its suffix. A name that ends in @ is a template.";

  config = {
    systemd.services = lib.mapAttrs (_: serviceOf) cfg.units;
    systemd.sockets = lib.mapAttrs (_: unit: {
      inherit (unit) description;
      wantedBy = [ "sockets.target" ];
      socketConfig = unit.socket;
    }) (withPart "socket");
    systemd.timers = lib.mapAttrs (_: unit: {
      inherit (unit) description;
      wantedBy = lib.mkIf (unit.instances == null) [ "timers.target" ];
      timerConfig = unit.timer;
    }) (withPart "timer");
    systemd.targets.multi-user.wants = lib.concatLists (
      lib.mapAttrsToList instancesOf (lib.filterAttrs (_: unit: unit.timer == null) cfg.units)
    );
    systemd.targets.timers.wants = lib.concatLists (
      lib.mapAttrsToList (
        name: unit:
        map (instance: "${name}${instance}.timer") (lib.optionals (unit.instances != null) unit.instances)
      ) (withPart "timer")
    );

    agency.secrets = lib.mkMerge (
      lib.mapAttrsToList (
        name: unit:
        lib.genAttrs unit.secrets (_: {
          consumers = [ "${name}.service" ];
        })
      ) cfg.units
    );

    assertions =
      map (name: {
        assertion = lib.hasPrefix "agency-" name;
        message = ''
          agency.units.${name}: own units are told apart by their prefix.
          Name it agency-${name}.
        '';
      }) (lib.attrNames cfg.units)
      ++ lib.mapAttrsToList (
        feature: one:
        let
          units = lib.filter (name: featureOf cfg.units.${name}.command == feature) (lib.attrNames cfg.units);
        in
        {
          assertion = units == [ ] || agencyLib.preview.allows cfg.preview feature;
          message = ''
            agency.preview: the program of ${feature}, for ${lib.concatStringsSep ", " units}, is not part of this version.
            Turn ${one.option} off, or list ${feature} under preview in instance.yaml and run `agency render`.
          '';
        }
      ) unwritten;
  };
}
