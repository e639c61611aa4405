# Reconcilers: oneshots that bring one part of the machine to its declared state. Each runs at every
# boot and every activation, changes nothing if nothing differs, and keeps no marker of its runs.
#
# A switch waits for whatever multi-user.target wants. What takes minutes is started by a timer that
# a switch starts again when anything of it changed.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.reconcilers;
  agencyLib = import ./lib { inherit lib; };

  reconciler = types.submodule {
    options = {
      description = opt.must types.singleLineStr "What it converges, in one line.";
      after = opt.listOf types.str "Units that it needs: it starts them, and runs after them." // {
        example = [ "docker.service" ];
      };
      input = opt.attrsOf types.anything "The wanted state, as JSON at /etc/agency/reconcile/<name>.json. Never a secret. A change runs the reconciler.";
      secrets = opt.listOf types.str "Names of `agency.secrets` it gets as credentials. A change runs the reconciler.";
      credentials = opt.attrsOf types.str "As agency.units.<name>.credentials.";
      user = opt.nullOr types.str "User it runs as. Null: a dynamic user of its own.";
      group = opt.nullOr types.str "Group it runs as.";
      network = opt.is (types.enum (
        lib.attrNames agencyLib.hardening.networks
      )) "loopback" "What it may reach.";
      path = opt.listOf types.package "As agency.units.<name>.path.";
      timeout = opt.between 10 7200 540 "Longest that one run may take, in seconds.";
      background = opt.bool false "Start it beside a switch that would otherwise wait for it: after the machine has booted, and when its declared state or its program changed.";
      every =
        opt.is (types.nullOr types.str) "1h"
          "How often it also runs by itself, so that drift heals between activations. Null: it does not.";
      relax = opt.attrsOf types.anything "As agency.units.<name>.relax.";
      serviceConfig = opt.attrsOf types.anything "As agency.units.<name>.serviceConfig.";
    };
  };

  # Of the program's own limit, for it to end in order.
  grace = 60;
  triggers = one: [
    (builtins.toJSON one.input)
    config.agency.prefix
  ];
  inputFile = name: "agency/reconcile/${name}.json";

  credentialsFile = name: "agency/reconcile/${name}.credentials.json";

  unit =
    name: one:
    lib.nameValuePair "agency-reconcile-${name}" {
      inherit (one)
        description
        credentials
        secrets
        user
        group
        network
        relax
        after
        path
        ;
      wants = one.after;
      command = [
        "reconcile"
        name
        "--config"
        "/etc/${inputFile name}"
        "--timeout"
        (toString one.timeout)
      ];
      # No RemainAfterExit: an activation starts whatever multi-user.target wants and is not active.
      type = "oneshot";
      wantedBy = lib.optional (!one.background) "multi-user.target";
      timer =
        let
          timer =
            lib.optionalAttrs one.background { OnActiveSec = "1s"; }
            // lib.optionalAttrs (one.every != null) { OnUnitInactiveSec = one.every; };
        in
        if timer == { } then null else timer;
      restartTriggers = triggers one;
      # Its services may take a while to answer. After ten minutes it has failed, for people to see,
      # and the timer goes on. Starts by hand and by switches count too: there is room for them.
      unitConfig = {
        StartLimitIntervalSec = "30min";
        StartLimitBurst = 20;
      };
      serviceConfig = {
        Restart = "on-failure";
        RestartSec = "30s";
        TimeoutStartSec = "${toString (one.timeout + grace)}s";
        MemoryMax = "512M";
        TasksMax = 128;
        # Its lock, also for a run by hand.
        RuntimeDirectory = "agency-reconcile-${name}";
        RuntimeDirectoryMode = "0700";
        RuntimeDirectoryPreserve = true;
      }
      # systemd gives a dynamic user none, and without nss-systemd nothing else knows one. The client
      # of Docker does not begin without.
      // lib.optionalAttrs (one.user == null) { Environment = "HOME=/"; }
      // one.serviceConfig;
    };
in
{
  imports = [ ./base.nix ];

  options.agency.reconcilers = opt.attrsOf reconciler "The reconcilers of this machine, by the name that `agency reconcile` knows.";

  config = {
    agency.units = lib.mapAttrs' unit cfg;
    systemd.timers = lib.mapAttrs' (
      name: one: lib.nameValuePair "agency-reconcile-${name}" { restartTriggers = triggers one; }
    ) (lib.filterAttrs (_: one: one.background) cfg);
    environment.etc = lib.concatMapAttrs (name: one: {
      ${inputFile name}.text = builtins.toJSON one.input;
      # Where systemd reads its credentials, for a run by hand.
      ${credentialsFile name} = lib.mkIf (one.secrets != [ ] || one.credentials != { }) {
        text = builtins.toJSON (
          one.credentials // lib.genAttrs one.secrets (secret: config.agency.secrets.${secret}.path)
        );
      };
    }) cfg;
  };
}
