# Reconcilers: oneshots that bring one part of the machine to what is declared. Each runs at every
# boot and every activation, changes nothing when nothing differs, and keeps no marker of having run.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.agency.reconcilers;
  agencyLib = import ./lib { inherit lib; };

  reconciler = types.submodule {
    options = {
      description = mkOption {
        type = types.singleLineStr;
        description = "What it converges, in one line.";
      };
      after = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "docker.service" ];
        description = "Units that it needs: it starts them, and runs after them.";
      };
      input = mkOption {
        type = types.attrsOf types.anything;
        default = { };
        description = "The wanted state, as JSON at /etc/agency/reconcile/<name>.json. Never a secret. A change runs the reconciler.";
      };
      secrets = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "Names of `agency.secrets` it gets as credentials. A change runs the reconciler.";
      };
      user = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "User it runs as. Null: a dynamic user of its own.";
      };
      group = mkOption {
        type = types.nullOr types.str;
        default = null;
        description = "Group it runs as.";
      };
      network = mkOption {
        type = types.enum (lib.attrNames agencyLib.hardening.networks);
        default = "loopback";
        description = "What it may reach.";
      };
      path = mkOption {
        type = types.listOf types.package;
        default = [ ];
        description = "As agency.units.<name>.path.";
      };
      timeout = mkOption {
        type = types.str;
        default = "10min";
        description = "Longest that one run may take.";
      };
      every = mkOption {
        type = types.nullOr types.str;
        default = "1h";
        description = "How often it also runs by itself, so that drift heals between activations. Null: it does not.";
      };
      relax = mkOption {
        type = types.attrsOf types.anything;
        default = { };
        description = "As agency.units.<name>.relax.";
      };
      serviceConfig = mkOption {
        type = types.attrsOf types.anything;
        default = { };
        description = "As agency.units.<name>.serviceConfig.";
      };
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

  options.agency.reconcilers = mkOption {
    type = types.attrsOf reconciler;
    default = { };
    description = "The reconcilers of this machine, by the name that `agency reconcile` knows.";
  };

  config = {
    agency.units = lib.mapAttrs' unit cfg;
    environment.etc = lib.mapAttrs' (
      name: one: lib.nameValuePair (inputFile name) { text = builtins.toJSON one.input; }
    ) cfg;
  };
}
