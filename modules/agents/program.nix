# What works in an agent, beside its ACP process: its tool gateway, and its account in rooms.
#
#   control plane ─ /run/agency-control/beside/NAME ─┬─▶ agency-agent-gateway@NAME   tools
#        before it starts agency-agent@NAME          ├─▶ agency-agent-chat@NAME      rooms, models
#                                                    └─▶ agency-agent-command@NAME   a command-line
#                                                        agent, if it is one
# All begin with agency-agent@NAME and end with it. Where the control plane left nothing, the agent
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
  agencyLib = import ../lib { inherit lib; };
  inherit (agencyLib) hardening;
  naming = agencyLib.naming.agents;
  declared = agency.instance.facts.agents or { };
  handed = "/run/agency-control/beside/%i";
  main = "${naming.unit}%i.service";
  templates = [
    "agency-agent-gateway@"
    "agency-agent-chat@"
    "agency-agent-command@"
  ];
  # Places that its unit does not show.
  hidden = [
    "/home/"
    "/root/"
    "/run/user/"
    "/tmp/"
    "/var/tmp/"
  ];

  bound = {
    after = [ main ];
    bindsTo = [ main ];
    partOf = [ main ];
    # A switch must not end an agent's work.
    restartIfChanged = false;
  };
  common = bound // {
    user = "${naming.prefix}%i";
    inherit (naming) group;
    network = "loopback";
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
            run =
              opt.is (types.listOf types.str) (declared.${name}.program.run or [ ]
              ) "Command-line agent, as the instance names its files; none for the kind `builtin`."
              // opt.md "as the instance names it";
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
        # Landlock takes the gateway's own files away from a tool server; no group of older systemd
        # has it.
        SystemCallFilter = hardening.startsPrograms ++ [
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
        "agency-agent-command@%i.service"
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

    # Its shell may be its own, so it has neither the agent's user, whose tokens that reads, nor a
    # network: two ports of its loopback are handed to the account, which leads them to gateway and
    # proxy.
    agency.units."agency-agent-command@" = bound // {
      description = "Command-line agent of agent %i";
      command = [
        "agent"
        "host"
        "--config"
        "%d/host.json"
      ];
      path = [
        pkgs.bash
        pkgs.coreutils
        pkgs.findutils
        pkgs.gitMinimal
        pkgs.gnugrep
        pkgs.gnused
      ];
      credentials = {
        "host.json" = "${handed}/host.json";
        gateway-token = "${handed}/gateway-token";
        model-token = "${handed}/model-token";
      };
      unitConfig = {
        ConditionPathExists = "${handed}/host.json";
        StartLimitIntervalSec = 0;
      };
      relax = {
        # These agents are made of JavaScript, which is compiled at run time.
        MemoryDenyWriteExecute = false;
        # The two ports, in a network of nothing but loopback.
        IPAddressAllow = "localhost";
        RestrictAddressFamilies = "AF_UNIX AF_INET AF_INET6";
        SystemCallFilter = [
          "@system-service"
          "~@privileged"
        ];
      };
      serviceConfig = {
        OOMPolicy = "kill";
        RuntimeDirectory = "agency-command/%i";
        RuntimeDirectoryMode = "0711";
        StateDirectory = "agency-command/%i";
        StateDirectoryMode = "0700";
      };
    };

    assertions = lib.concatLists (
      lib.mapAttrsToList (
        name: agent:
        let
          isUnit = agent.program.enable && agent.runtime == "systemd";
          run = agent.program.run;
          isHidden = file: lib.any (place: lib.hasPrefix place file) hidden;
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
            assertion = !(isUnit && lib.any isHidden run);
            message = ''
              agency.agents.${name}: its command-line agent is at ${lib.concatStringsSep ", " run}, which its unit does not see.
              Put it where all may read it, such as /opt/NAME; set run in instance.yaml and run `agency render`.
            '';
          }
        ]
      ) agency.agents
    );
  };
}
