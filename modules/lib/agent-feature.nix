# Makes the module of one optional feature of agents: an `enable` option per agent, the feature's
# own options, and its units for those agents that turn it on.
#
#   name         attribute under agency.agents.<agent>
#   description  one line for the option
#   options      further options of the feature, an attrset, or a function of the agent's `config`
#   units        name of a template (without agency-agent-) -> a definition for agency.units
#   secrets      suffixes of the agent's secrets: agent-<agent>-<suffix> -> { units }, those that load
#                it; its other facts are in the catalogue of secrets
#   settings     what the feature's programs read at start, a function of the agent's `config`
#   extra        further configuration, a function of { config, enabled }
{ lib }:
{
  name,
  description,
  options ? { },
  units ? { },
  secrets ? { },
  settings ? (_: { }),
  extra ? (_: { }),
}:
{ config, ... }:
let
  inherit (lib) mkOption types;
  catalogue = import ./catalogue.nix { inherit lib; };
  opt = import ./options.nix { inherit lib; };
  naming = (import ./. { inherit lib; }).naming.agents;
  enabled = lib.filterAttrs (_: agent: agent.${name}.enable) config.agency.agents;
  agents = lib.attrNames enabled;
  templateName = unit: "agency-agent-${unit}@";
  # An instance does not say which features its agents have: what holds of their secrets is in the
  # catalogue alone.
  factsOf =
    secret:
    lib.mapAttrs (_: lib.mkDefault) (
      removeAttrs (catalogue.factsOf secret) [
        "consumers"
        "restarts"
      ]
    );
  consumersOf = agent: secret: map (unit: "${templateName unit}${agent}.service") secret.units;
  credentialsOf =
    unit:
    lib.mapAttrs (suffix: _: "/run/secrets/agent-%i-${suffix}") (
      lib.filterAttrs (_: secret: lib.elem unit secret.units) secrets
    );
in
{
  options.agency.agents = mkOption {
    type = types.attrsOf (
      types.submodule (
        { config, ... }:
        {
          options.${name} = {
            enable = opt.enable description;
          }
          // (if lib.isFunction options then options config else options);
          config.settings = lib.mkIf config.${name}.enable { ${name} = settings config; };
        }
      )
    );
  };

  config = lib.mkIf (enabled != { }) (
    lib.mkMerge [
      {
        agency.units = lib.mapAttrs' (
          unit: definition:
          lib.nameValuePair (templateName unit) (
            {
              user = "${naming.prefix}%i";
              inherit (naming) group;
              home = "/home/${naming.prefix}%i";
              instances = agents;
              credentials = credentialsOf unit;
            }
            // definition
          )
        ) units;
        agency.secrets = lib.mkMerge (
          map (
            agent:
            lib.mapAttrs' (
              suffix: secret:
              let
                full = "${naming.prefix}${agent}-${suffix}";
              in
              lib.nameValuePair full (factsOf full // { consumers = consumersOf agent secret; })
            ) secrets
          ) agents
        );
      }
      (extra { inherit config enabled; })
    ]
  );
}
