# Woodpecker: server, and one agent with the local backend, because runs drive abra on this machine.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  ci = config.agency.ci;
  agency = config.agency;
  ports = agency.ports;
  hosts = agency.instance.facts.names.hosts;
  forge = lib.toUpper agency.forge.kind;
  inherit ((import ../lib { inherit lib; }).naming) serviceUids;
  common = import ../lib/recipes-unit.nix { inherit lib config; };
  runs = import ../lib/recipe-runs.nix { inherit lib config pkgs; };
  rpc = "woodpecker-rpc-secret";
  oauth = lib.genAttrs [ "CLIENT" "SECRET" ] (
    part: "woodpecker-oauth-client-${if part == "CLIENT" then "id" else "secret"}"
  );
  server = "woodpecker-server";
  runner = "woodpecker-agent-local";
  ofUnit = unit: name: "/run/credentials/${unit}.service/${name}";
  minutes = toString ci.buildTimeoutMinutes;
  issued = lib.filter (name: agency.secrets.${name}.class == "C") (lib.attrValues oauth);
in
{
  options.agency.ci.woodpecker.admins =
    (import ../lib/options.nix { inherit lib; }).is
      (lib.types.nonEmptyListOf (import ../lib { inherit lib; }).types.name)
      [ "root" ]
      "Accounts of the forge that may log in to Woodpecker and turn a project's pipelines on. Nobody else may.";

  config = lib.mkIf (ci.enable && ci.engine == "woodpecker") {
    services.woodpecker-server = {
      enable = true;
      environment = {
        WOODPECKER_HOST = "https://${hosts.woodpecker}";
        WOODPECKER_SERVER_ADDR = "127.0.0.1:${toString ports.woodpecker}";
        WOODPECKER_GRPC_ADDR = "127.0.0.1:${toString ports.woodpecker-agents}";
        WOODPECKER_OPEN = "false";
        # With the registration closed, nobody else is ever let in.
        WOODPECKER_ADMIN = lib.concatStringsSep "," ci.woodpecker.admins;
        # It signs what an agent that has shown the secret is given, and would be new at each start.
        WOODPECKER_GRPC_SECRET_FILE = ofUnit server rpc;
        WOODPECKER_DEFAULT_PIPELINE_TIMEOUT = minutes;
        WOODPECKER_MAX_PIPELINE_TIMEOUT = minutes;
        WOODPECKER_AGENT_SECRET_FILE = ofUnit server rpc;
        "WOODPECKER_${forge}" = "true";
        "WOODPECKER_${forge}_URL" = toString agency.forge.url;
      }
      // lib.mapAttrs' (
        part: name: lib.nameValuePair "WOODPECKER_${forge}_${part}_FILE" (ofUnit server name)
      ) oauth;
    };
    services.woodpecker-agents.agents.local = {
      enable = true;
      environment = {
        WOODPECKER_SERVER = "127.0.0.1:${toString ports.woodpecker-agents}";
        WOODPECKER_BACKEND = "local";
        WOODPECKER_MAX_WORKFLOWS = toString ci.maxTests;
        WOODPECKER_AGENT_SECRET_FILE = ofUnit runner rpc;
        WOODPECKER_HEALTHCHECK = "false";
        # The number that the server knows it by; lost, each start is a further agent.
        WOODPECKER_AGENT_CONFIG_FILE = "/var/lib/woodpecker-agent/agent.conf";
      };
      path = [
        agency.package
        pkgs.bash
        pkgs.coreutils
        pkgs.git-lfs
        # The step that clones.
        pkgs.woodpecker-plugin-git
      ]
      ++ runs.path;
    };
    systemd.services.${server} = {
      # Skipped, not failed, until the forge has issued its part.
      unitConfig.ConditionPathExists = map (name: agency.secrets.${name}.path) issued;
      serviceConfig = {
        LoadCredential = map (name: agency.secrets.${name}.credential) (lib.attrValues oauth ++ [ rpc ]);
        MemoryMax = "1G";
      };
    };
    systemd.services.${runner} = {
      after = [ "${server}.service" ];
      serviceConfig =
        runs.asUnitOfState {
          inherit (common.serviceConfig) User;
          directories = [
            "woodpecker-agent"
            common.serviceConfig.StateDirectory
          ];
        }
        // {
          LoadCredential = [ agency.secrets.${rpc}.credential ];
        };
    };
    agency.secrets =
      lib.genAttrs (lib.attrValues oauth) (_: {
        consumers = [ "${server}.service" ];
      })
      // {
        ${rpc}.consumers = [
          "${server}.service"
          "${runner}.service"
        ];
      };
    agency.heldPorts = lib.genAttrs [ "woodpecker" "woodpecker-agents" ] (_: {
      user = server;
      uid = serviceUids.woodpecker;
    });
    agency.edge.sites.woodpecker = {
      host = hosts.woodpecker;
      port = ports.woodpecker;
    };
  };
}
