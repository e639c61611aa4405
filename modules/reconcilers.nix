# Reconcilers: oneshots that bring one part of the machine to its declared state. Each runs at every
# boot and every activation, changes nothing if nothing differs, and keeps no marker of its runs.
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
      user = opt.nullOr types.str "User it runs as. Null: a dynamic user of its own.";
      group = opt.nullOr types.str "Group it runs as.";
      network = opt.is (types.enum (
        lib.attrNames agencyLib.hardening.networks
      )) "loopback" "What it may reach.";
      path = opt.listOf types.package "As agency.units.<name>.path.";
      timeout = opt.str "10min" "Longest that one run may take.";
      every =
        opt.is (types.nullOr types.str) "1h"
          "How often it also runs by itself, so that drift heals between activations. Null: it does not.";
      relax = opt.attrsOf types.anything "As agency.units.<name>.relax.";
      serviceConfig = opt.attrsOf types.anything "As agency.units.<name>.serviceConfig.";
    };
  };

  inputFile = name: "agency/reconcile/${name}.json";

  unit =
    name: one:
    lib.nameValuePair "agency-reconcile-${name}" {
      inherit (one)
        description
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
      ];
      # No RemainAfterExit: an activation starts whatever multi-user.target wants and is not active.
      type = "oneshot";
      wantedBy = [ "multi-user.target" ];
      timer = if one.every == null then null else { OnUnitInactiveSec = one.every; };
      restartTriggers = [ (builtins.toJSON one.input) ];
      serviceConfig = {
        TimeoutStartSec = one.timeout;
        MemoryMax = "512M";
        TasksMax = 128;
        # Its lock, also for a run by hand.
        RuntimeDirectory = "agency-reconcile-${name}";
        RuntimeDirectoryMode = "0700";
        RuntimeDirectoryPreserve = true;
      }
      // one.serviceConfig;
    };
in
{
  imports = [ ./base.nix ];

  options.agency.reconcilers = opt.attrsOf reconciler "The reconcilers of this machine, by the name that `agency reconcile` knows.";

  config = {
    agency.units = lib.mapAttrs' unit cfg;
    environment.etc = lib.mapAttrs' (
      name: one: lib.nameValuePair (inputFile name) { text = builtins.toJSON one.input; }
    ) cfg;
  };
}
