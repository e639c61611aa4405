# What the instance says of its agents, beside their numbers: limits, ways out, and features. A host
# may set each otherwise.
{ config, lib, ... }:
let
  facts = config.agency.instance.facts;
  # What the instance does not set is for the option's own default.
  isGiven = value: value != null && value != false && value != [ ];
  defaults = values: lib.mapAttrs (_: lib.mkDefault) (lib.filterAttrs (_: isGiven) values);
  limits =
    told:
    lib.optionalAttrs (told.memoryMib or null != null) {
      memoryMax = "${toString told.memoryMib}M";
    }
    // lib.optionalAttrs (told.cpus or null != null) {
      # At least one hundredth: systemd knows no quota of 0%.
      cpuQuota = "${toString (lib.max 1 (builtins.floor (told.cpus * 100)))}%";
    }
    // {
      tasksMax = told.tasks or null;
    };
  token = name: "agent-${name}-issues-token";
  issues = name: told: told // { tokenFile = config.agency.secrets.${token name}.path; };
  hasIssues = agent: (agent.taskLoop.issues or null) != null;
  agents = lib.listToAttrs (
    map (agent: lib.nameValuePair agent.name (facts.agents.${agent.name} or { })) facts.agentsResolved
  );
in
{
  config.agency = {
    agents = lib.mapAttrs (name: agent: {
      spare = lib.mkDefault (agent.spare or false);
      limits = defaults (limits (agent.limits or { }));
      egress = lib.mkIf (agent.egress or [ ] != [ ]) (lib.mkDefault agent.egress);
      workspace = defaults (
        (agent.workspace or { })
        // {
          fullName = agent.fullName or null;
          email = agent.email or null;
        }
      );
      browser = defaults (agent.browser or { });
      codingAgent = defaults (agent.codingAgent or { });
      taskLoop = defaults (
        (agent.taskLoop or { })
        // lib.optionalAttrs (hasIssues agent) { issues = issues name agent.taskLoop.issues; }
      );
    }) agents;
    secrets = lib.mapAttrs' (
      name: _: lib.nameValuePair (token name) { consumers = [ "agency-collect-${name}.service" ]; }
    ) (lib.filterAttrs (_: hasIssues) agents);
  };
}
