# What works in an agent, beside its ACP process: its tool gateway, and its account in rooms.
#
#   control plane ─ /run/agency-control/beside/NAME ─┬─▶ agency-agent-gateway@NAME   tools
#        before it starts agency-agent@NAME          └─▶ agency-agent-chat@NAME      rooms, models
#
# Both begin with agency-agent@NAME and end with it. Where the control plane left nothing, the agent
# has no program, and they do not begin.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  opt = import ../lib/options.nix { inherit lib; };
  agency = config.agency;
  naming = (import ../lib { inherit lib; }).naming.agents;
  declared = agency.instance.facts.agents or { };
  handed = "/run/agency-control/beside/%i";
  main = "${naming.unit}%i.service";
  templates = [
    "agency-agent-gateway@"
    "agency-agent-chat@"
  ];

  common = {
    user = "${naming.prefix}%i";
    inherit (naming) group;
    network = "loopback";
    after = [ main ];
    bindsTo = [ main ];
    partOf = [ main ];
    # A switch must not end an agent's work.
    restartIfChanged = false;
  };
  limits = {
    SocketBindDeny = "any";
    OOMPolicy = "kill";
  };
in
{
  options.agency.agents = mkOption {
    type = types.attrsOf (
      types.submodule (
        { name, config, ... }:
        {
          options.program = {
            enable =
              opt.bool ((declared.${name}.program or null) != null)
                "Whether something works in it: a program that reads its rooms, asks models and calls tools. The instance says which."
              // opt.md "whether the instance gives it a program";
            kind =
              opt.oneOf [
                "builtin"
                "command"
              ] (declared.${name}.program.kind or "builtin") "Kind of its program, as the instance says it."
              // opt.md "kind of program in the instance";
          };
          config = lib.mkIf config.program.enable {
            templates = templates;
            # Its own ways, each with a token of its own: models, and its account in rooms.
            loopback = lib.attrValues (
              lib.intersectAttrs {
                models = null;
                synapse = null;
              } agency.ports
            );
          };
        }
      )
    );
  };

  config = lib.mkIf (agency.agents != { }) {
    agency.units.${naming.unit} = {
      wants = map (template: "${template}%i.service") templates;
      # Of an agent without a program there is none, and nothing is opened by the word.
      credentials.gateway-control-token = "${handed}/gateway-control-token";
      serviceConfig.SetCredential = "gateway-control-token:none";
    };

    agency.units."agency-agent-gateway@" = common // {
      description = "Tool gateway of agent %i";
      command = [
        "agent"
        "gateway"
        "--config"
        "%d/gateway.json"
      ];
      # Its tool servers work there, as the agent.
      home = "/home/${naming.prefix}%i";
      path = [ pkgs.util-linux ]; # by which tool servers are started
      credentials = {
        "gateway.json" = "${handed}/gateway.json";
        gateway-token = "${handed}/gateway-token";
        gateway-control-token = "${handed}/gateway-control-token";
      };
      unitConfig = {
        ConditionPathExists = "${handed}/gateway.json";
        StartLimitIntervalSec = 0;
      };
      relax = {
        # Tool servers on Node.js and the like compile at run time.
        MemoryDenyWriteExecute = false;
        # It starts each tool server by prlimit, which sets its limits, and by setpriv, which sets
        # capabilities whatever it is asked for. There are none, so nothing is won by it. Landlock
        # takes the gateway's own files away from the server; no group of older systemd has it.
        SystemCallFilter = [
          "@system-service"
          "~@privileged"
          "capset"
          "landlock_create_ruleset"
          "landlock_add_rule"
          "landlock_restrict_self"
        ];
      };
      serviceConfig = limits // {
        RuntimeDirectory = "agency-gateway/%i";
        RuntimeDirectoryMode = "0700";
        StateDirectory = "agency-gateway/%i";
        StateDirectoryMode = "0700";
      };
    };

    agency.units."agency-agent-chat@" = common // {
      description = "Account of agent %i in rooms";
      command = [
        "agent"
        "chat"
        "--config"
        "%d/chat.json"
      ];
      after = common.after ++ [
        "agency-agent-gateway@%i.service"
        "agency-proxy.service"
        "matrix-synapse.service"
      ];
      credentials = {
        "chat.json" = "${handed}/chat.json";
        gateway-token = "${handed}/gateway-token";
        model-token = "${handed}/model-token";
        # The control plane logs the account in, and again when it was logged out.
        matrix-token = "${handed}/matrix-token";
      };
      unitConfig = {
        ConditionPathExists = "${handed}/chat.json";
        StartLimitIntervalSec = 0;
      };
      serviceConfig = limits // {
        StateDirectory = "agency-rooms/%i";
        StateDirectoryMode = "0700";
        RestartSec = "5s";
      };
    };

    assertions = lib.concatLists (
      lib.mapAttrsToList (
        name: agent:
        let
          isUnit = agent.program.enable && agent.runtime == "systemd";
        in
        [
          {
            assertion = isUnit -> agency.models.enable or false;
            message = ''
              agency.agents.${name}: it has a program, and this machine has no way to models.
              Set models in instance.yaml and run `agency render`, or take program from the agent.
            '';
          }
          {
            assertion = isUnit -> agent.program.kind == "builtin";
            message = ''
              agency.agents.${name}: its program is a command-line agent, which units of systemd do not start yet.
              Set kind: builtin in instance.yaml and run `agency render`, or work with it by `agency up`.
            '';
          }
        ]
      ) agency.agents
    );
  };
}
