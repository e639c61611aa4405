# Agents as users of the operating system: stable uid, closed home, limits, and the unit that the
# control plane starts.
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
  agents = agency.agents;
  names = lib.attrNames agents;
  isName = name: builtins.match naming.namePattern name != null;
  agencyLib = import ../lib { inherit lib; };
  naming = agencyLib.naming.agents;

  agentModule =
    { name, config, ... }:
    {
      options = {
        role = opt.must agencyLib.types.name "What it works as.";
        uid = opt.nullOr types.int "Uid, from ${toString naming.uids.lowest} to ${toString naming.uids.highest}. The rendered instance allocates one from the name, whatever other agents there are.";
        port = opt.nullOr types.port "Loopback port of its control interface. The rendered instance allocates one from the name.";
        runtime =
          opt.oneOf
            [
              "systemd"
              "docker"
            ]
            "systemd"
            "What runs it: its unit, or a container of the Docker Engine (`agency.control.docker.enable`)."
          // opt.md "as the instance says it";
        spare =
          opt.bool false "No agent yet: its user, port, unit and program are for one that `agents create` makes in the control room."
          // opt.md "as the instance says it";
        user = opt.fixed types.str (naming.prefix + name) "Its user.";
        home = opt.fixed types.str "/home/${config.user}" "Its home directory, open to nobody else.";
        slice = mkOption {
          type = types.str;
          readOnly = true;
          # A dash nests slices, so the name's own dashes must not be there.
          default = "${naming.slice}-${lib.replaceStrings [ "-" ] [ "_" ] name}";
          description = "The slice of everything that runs for it.";
        };
        matrixId =
          opt.str "@${config.user}:${agency.domain}" "Its Matrix id."
          // opt.code ''"@agent-''${name}:''${config.agency.domain}"'';
        limits = {
          memoryMax = opt.str "1G" "Most memory that all of its processes may use together.";
          cpuQuota = opt.str "100%" "Most processor time; 100% is one core.";
          tasksMax = opt.is types.ints.positive 256 "Most processes and threads.";
        };
        ports =
          opt.is (types.attrsOf types.port) (lib.optionalAttrs (config.port != null) {
            acp = config.port;
          }) "Every loopback port that belongs to it: no other agent may listen there or connect."
          // opt.code "{ acp = port; }";
        templates = opt.listOf types.str "Templates of units whose instances run for it, beside those that are started with the machine.";
        settings = opt.attrsOf types.anything "What its features read at start, as JSON at /etc/agency/agents/<name>.json. Never a secret.";
      };
    };

  allPorts = lib.concatMapAttrs (
    name: agent: lib.mapAttrs' (kind: lib.nameValuePair "agents.${name}.${kind}") agent.ports
  ) agents;
  servicePorts = lib.mapAttrs' (name: lib.nameValuePair "ports.${name}") agency.ports;
  allUids = lib.filterAttrs (_: uid: uid != null) (
    lib.mapAttrs (_: user: user.uid) config.users.users
  );
  isOurs = user: lib.any (name: agents.${name}.user == user) names;

  # Features that instance.yaml refuses to an agent in a container, too.
  forUnits =
    name:
    lib.filter (feature: agents.${name}.${feature}.enable) [
      "browser"
      "codingAgent"
      "taskLoop"
      "workspace"
    ];

  # The template's instances for one agent: what differs between agents is in a drop-in.
  templates = lib.filterAttrs (
    name: _: lib.hasPrefix "agency-agent" name && lib.hasSuffix "@" name
  ) agency.units;
  belongs =
    unit: name:
    unit == naming.unit
    || lib.elem unit agents.${name}.templates
    || lib.elem name templates.${unit}.instances;
  dropIn =
    unit: name:
    lib.nameValuePair "${unit}${name}" {
      overrideStrategy = "asDropin";
      enableDefaultPath = false;
      serviceConfig = {
        Slice = "${agents.${name}.slice}.slice";
        IPAddressAllow = map (rule: rule.to) agents.${name}.egress;
        SocketBindAllow = map (port: "tcp:${toString port}") (lib.attrValues agents.${name}.ports);
      };
    };
in
{
  imports = [
    ../memory.nix
    ../base.nix
    ./firewall.nix
    ./home.nix
    ./audit.nix
    ./browser.nix
    ./coding-agent.nix
    ./declared.nix
    ./desktop.nix
    ./incidents.nix
    ./mail.nix
    ./mcp.nix
    ./passwords.nix
    ./program.nix
    ./ssh.nix
    ./tailnet.nix
    ./task-loop.nix
    ./workspace.nix
  ];

  options.agency.agents = opt.attrsOf (types.submodule agentModule) "The agents of this machine, by name.";

  config = lib.mkMerge [
    {
      agency.agents = lib.listToAttrs (
        map (
          agent:
          lib.nameValuePair agent.name {
            role = lib.mkDefault agent.role;
            uid = lib.mkDefault agent.uid;
            port = lib.mkDefault agent.port;
            runtime = lib.mkDefault (agent.runtime or "systemd");
            matrixId = lib.mkDefault agent.matrixId;
          }
        ) agency.instance.facts.agentsResolved
      );
    }
    (lib.mkIf (agents != { }) {
      users.groups.${naming.group}.gid = agency.instance.facts.names.agentsGid;
      users.users = lib.mapAttrs' (
        name: agent:
        lib.nameValuePair agent.user {
          isNormalUser = true;
          description = "Agent ${name}";
          inherit (agent) uid home;
          inherit (naming) group;
          homeMode = "0700";
          shell = "${pkgs.shadow}/bin/nologin";
          autoSubUidGidRange = false;
        }
        # For a longer name NixOS would fail before the assertion that states the rule.
      ) (lib.filterAttrs (name: _: isName name) agents);
      # The mode is put right at every activation, not only when the user is made.
      systemd.tmpfiles.settings.agency-agents = lib.mapAttrs' (
        _: agent:
        lib.nameValuePair agent.home {
          d = {
            inherit (agent) user;
            inherit (naming) group;
            mode = "0700";
          };
        }
      ) agents;

      agency.memory.parts = lib.mapAttrs' (
        name: agent: lib.nameValuePair "agent ${name}" agent.limits.memoryMax
      ) agents;
      systemd.slices = {
        ${naming.slice}.description = "All agents";
      }
      // lib.mapAttrs' (
        name: agent:
        lib.nameValuePair agent.slice {
          description = "Agent ${name}";
          sliceConfig = {
            MemoryMax = agent.limits.memoryMax;
            MemorySwapMax = 0;
            CPUQuota = agent.limits.cpuQuota;
            TasksMax = agent.limits.tasksMax;
          };
        }
      ) agents;

      environment.etc = lib.mapAttrs' (
        name: agent:
        lib.nameValuePair "agency/agents/${name}.json" {
          text = builtins.toJSON (
            agent.settings
            // {
              inherit name;
              inherit (agent) role home;
            }
          );
        }
      ) agents;

      agency.units.${naming.unit} = {
        description = "Agent %i";
        command = [
          "agent"
          "run"
          "--config"
          "%d/agent.json"
        ];
        user = "${naming.prefix}%i";
        inherit (naming) group;
        home = "/home/${naming.prefix}%i";
        network = "loopback";
        # The control plane writes both before it starts an agent; only it and root can read them.
        credentials = {
          "agent.json" = "/run/agency-control/agents/%i.json";
          acp-token = "/run/agency-control/agents/%i.token";
        };
        # A switch must not end an agent's work; the control plane restarts it when asked.
        restartIfChanged = false;
        serviceConfig = {
          # The control plane makes its socket there, for this agent alone: it redeems its secrets.
          BindReadOnlyPaths = "-/run/agency-control/redeem/%i:/run/agency-redeem";
          SocketBindDeny = "any";
          OOMPolicy = "kill";
          # `agents status` shows these; whether they are counted unasked depends on the kernel.
          CPUAccounting = true;
          MemoryAccounting = true;
          TasksAccounting = true;
        };
      };

      systemd.services = lib.listToAttrs (
        lib.concatMap (unit: map (dropIn unit) (lib.filter (belongs unit) names)) (lib.attrNames templates)
      );
    })
    {
      assertions =
        map (name: {
          assertion = agents.${name}.uid != null && agents.${name}.port != null;
          message = ''
            agency.agents.${name}: it has no uid or no port, because the instance does not list it.
            Add it under agents in instance.yaml and run `agency render`, or set uid and port here.
          '';
        }) names
        ++ map (name: {
          assertion =
            agents.${name}.uid == null
            || (agents.${name}.uid >= naming.uids.lowest && agents.${name}.uid <= naming.uids.highest);
          message = ''
            agency.agents.${name}: uid ${toString agents.${name}.uid} is outside ${toString naming.uids.lowest} to ${toString naming.uids.highest}, the range of agents.
            Choose one in that range, or leave it out to have one allocated.
          '';
        }) names
        ++ map (name: {
          assertion = agents.${name}.runtime != "docker" || forUnits name == [ ];
          message = ''
            agency.agents.${name}: it runs in a container, and ${lib.concatStringsSep ", " (forUnits name)} would be of its user, outside of it.
            Turn that off: timers of its Gosuto and messages in its rooms give it work; or set runtime: systemd in instance.yaml.
          '';
        }) names
        ++ map (name: {
          assertion = isName name;
          message = ''
            agency.agents.${name}: not a name that an agent may have.
            Use 1 to ${toString naming.mostOfName} characters of a-z, 0-9 and inner dashes, beginning with a letter.
          '';
        }) names
        ++
          map
            (collision: {
              assertion = false;
              message = ''
                agency.agents: uid ${collision.value} belongs to ${lib.concatStringsSep ", " collision.names}.
                Give one of them another uid; for an agent, with uid in instance.yaml and `agency render`.
              '';
            })
            (lib.filter (collision: lib.any isOurs collision.names) (agencyLib.assertions.collisions allUids))
        ++
          map
            (collision: {
              assertion = false;
              message = ''
                agency.agents: port ${collision.value} is claimed by ${lib.concatStringsSep ", " collision.names}.
                Give one of them another port; for an agent, with port in instance.yaml and `agency render`.
              '';
            })
            (
              lib.filter (collision: lib.any (lib.hasPrefix "agents.") collision.names) (
                agencyLib.assertions.collisions (allPorts // servicePorts)
              )
            );
    }
  ];
}
