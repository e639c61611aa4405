# Drone: server and exec runner. Neither is free software in the build that can do this, and the
# free build of the server does not speak to remote runners and forgets secrets.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  opt = import ../lib/options.nix { inherit lib; };
  cfg = config.agency.ci.drone;
  ci = config.agency.ci;
  agency = config.agency;
  ports = agency.ports;
  hosts = agency.instance.facts.names.hosts;
  inherit ((import ../lib { inherit lib; })) hardening naming;
  common = import ../lib/recipes-unit.nix { inherit lib config; };
  runs = import ../lib/recipe-runs.nix { inherit lib config pkgs; };
  forge = lib.toUpper agency.forge.kind;
  isFree = builtins.match "drone\\.io-oss.*" (lib.getName cfg.package) != null;

  oauth = [
    "drone-oauth-client-id"
    "drone-oauth-client-secret"
  ];
  rpc = "drone-rpc-secret";
  serverFile = "drone-server.env";
  runnerFile = "drone-runner.env";
  lines =
    attrs: lib.concatStrings (lib.mapAttrsToList (name: value: "${name}=${toString value}\n") attrs);
  ofUnit = unit: name: "/run/credentials/${unit}.service/${name}";
  cleanup = "${toString ci.buildTimeoutMinutes}m";

  service = description: file: {
    inherit description;
    wantedBy = [ "multi-user.target" ];
    # Skipped, not failed, until the forge has issued its part.
    unitConfig.ConditionPathExists = agency.issuedFiles.${file}.path;
    restartTriggers = [ agency.issuedFiles.${file}.content ];
    serviceConfig = {
      LoadCredential = [ agency.issuedFiles.${file}.credential ];
      DynamicUser = true;
      Restart = "on-failure";
      RestartSec = "10s";
    };
  };
in
{
  options.agency.ci.drone = {
    package = opt.package pkgs.drone "The server." // opt.code "pkgs.drone";
    runnerPackage =
      opt.package pkgs.drone-runner-exec "The exec runner." // opt.code "pkgs.drone-runner-exec";
    acceptLicence = opt.bool false "Whether the operator has read and accepts the licences of Drone's server and exec runner, which are not free.";
    admin =
      opt.matching "[a-z0-9][a-z0-9._-]{0,62}" "root"
        "Account of the forge that administers Drone.";
  };

  config = lib.mkIf (ci.enable && ci.engine == "drone") {
    nixpkgs = lib.mkIf cfg.acceptLicence {
      config.allowUnfreePredicate =
        package:
        lib.elem (lib.getName package) [
          "drone.io"
          "drone-runner-exec"
        ];
    };

    systemd.services.drone-server = lib.mkMerge [
      (service "Drone" serverFile)
      {
        serviceConfig = hardening.harden { network = "open"; } // {
          ExecStart = "${lib.getExe cfg.package} --env-file ${ofUnit "drone-server" serverFile}";
          StateDirectory = "drone-server";
          StateDirectoryMode = "0700";
          WorkingDirectory = "%S/drone-server";
          MemoryMax = "1G";
        };
      }
    ];
    systemd.services.drone-runner = lib.mkMerge [
      (service "Runner of Drone" runnerFile)
      {
        after = [ "drone-server.service" ];
        path = [
          agency.package
          pkgs.bash
          pkgs.coreutils
        ]
        ++ runs.path;
        serviceConfig =
          runs.asUnitOfState {
            inherit (common.serviceConfig) User;
            directories = [
              "drone-runner"
              common.serviceConfig.StateDirectory
            ];
          }
          // {
            ExecStart = "${lib.getExe cfg.runnerPackage} daemon ${ofUnit "drone-runner" runnerFile}";
            # The runner kills only the shell of a step; what that started ends with the unit.
            KillMode = "control-group";
          };
      }
    ];

    agency.issuedFiles = {
      ${serverFile} = {
        content = lines {
          DRONE_SERVER_HOST = hosts.drone;
          DRONE_SERVER_PROTO = "https";
          DRONE_SERVER_PORT = "127.0.0.1:${toString ports.drone}";
          DRONE_DATABASE_DRIVER = "sqlite3";
          DRONE_DATABASE_DATASOURCE = "/var/lib/drone-server/database.sqlite";
          DRONE_REGISTRATION_CLOSED = "true";
          DRONE_USER_CREATE = "username:${cfg.admin},admin:true";
          DRONE_CLEANUP_INTERVAL = "1m";
          DRONE_CLEANUP_DEADLINE_RUNNING = cleanup;
          DRONE_CLEANUP_DEADLINE_PENDING = "24h";
          "DRONE_${forge}_SERVER" = agency.forge.url;
          "DRONE_${forge}_CLIENT_ID" = "@drone-oauth-client-id@";
          "DRONE_${forge}_CLIENT_SECRET" = "@drone-oauth-client-secret@";
          DRONE_RPC_SECRET = "@${rpc}@";
        };
        secrets = oauth ++ [ rpc ];
        consumers = [ "drone-server.service" ];
      };
      ${runnerFile} = {
        content = lines {
          DRONE_RPC_PROTO = "http";
          DRONE_RPC_HOST = "127.0.0.1:${toString ports.drone}";
          DRONE_RPC_SECRET = "@${rpc}@";
          DRONE_RUNNER_CAPACITY = ci.maxTests;
          DRONE_RUNNER_NAME = agency.name;
          DRONE_RUNNER_ROOT = "/var/lib/drone-runner";
          DRONE_HTTP_BIND = "127.0.0.1:${toString ports.drone-runner}";
          DRONE_UI_DISABLE = "true";
        };
        secrets = [ rpc ];
        consumers = [ "drone-runner.service" ];
      };
    };
    agency.heldPorts = {
      drone = {
        user = "drone-server";
        uid = naming.serviceUids.drone;
      };
      drone-runner = {
        user = common.serviceConfig.User;
        uid = naming.serviceUids.recipes;
      };
    };
    agency.edge.sites.drone = {
      host = hosts.drone;
      port = ports.drone;
    };

    assertions = [
      {
        assertion = !isFree;
        message = ''
          agency.ci.drone.package: the free build of Drone has no remote runners, no secrets and no cron, so no build would ever start.
          Take pkgs.drone, or set services.ci.engine to woodpecker or builtin in instance.yaml.
        '';
      }
      {
        assertion = cfg.acceptLicence;
        message = ''
          agency.ci.drone: the server and the exec runner are not free software, and nobody has accepted their licences.
          Read them and set agency.ci.drone.acceptLicence = true, or set services.ci.engine to woodpecker or builtin in instance.yaml.
        '';
      }
    ];
  };
}
