# Backups of what is not in git, by restic: two units, a timer each, and one file that says what.
#
# Secrets and configuration are in git; what the machine makes itself is listed here, by what it
# runs. The last success is told to Prometheus by a file that its node exporter reads.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.backup;
  agency = config.agency;
  backup = agency.instance.facts.backup or null;
  name = (import ./lib { inherit lib; }).types.name;
  grafana = agency.observability.enable && agency.observability.grafana;
  gitlab = agency.gitlab.enable;
  control = agency.control.enable;
  controlUser = (import ./lib { inherit lib; }).naming.control.user;
  onPostgresql = agency.control.database == "postgresql";
  server = config.services.postgresql;

  isPath = lib.hasPrefix "/" cfg.repository;
  isSftp = lib.hasPrefix "sftp:" cfg.repository;
  secrets = [
    "backup-password"
  ]
  ++ lib.optional isSftp "backup-ssh-key"
  ++ lib.optional (!isPath && !isSftp) "backup-repository-credentials";
  state = "agency-backup";
  metrics = agency.observability.textfileDirectory;
  etc = "agency/backup.json";

  settings = {
    instance = agency.name;
    host = config.networking.fqdnOrHostName;
    inherit (cfg) repository retention;
    state_dir = "/var/lib/${state}";
    metrics_file = "${metrics}/agency-backup.prom";
    stores = lib.mapAttrsToList (name: path: {
      inherit name path;
      audited = name == "control";
    }) cfg.stores;
    trees = lib.mapAttrsToList (name: path: { inherit name path; }) cfg.trees;
    units = cfg.stops;
    max_age_hours = cfg.maxAgeHours;
    timeout_hours = cfg.timeoutHours;
  }
  // lib.optionalAttrs cfg.appendOnly { append_only = true; }
  // lib.optionalAttrs (cfg.databases != [ ]) {
    server = {
      socket = "/run/postgresql";
      port = server.settings.port;
      inherit (cfg) databases;
      audited = if control && onPostgresql then controlUser else null;
    };
  };

  # Without a first success there is no number, and the alert must know that there should be.
  expected = pkgs.writeText "agency-backup-expected.prom" ''
    # HELP agency_backup_expected Whether this machine is backed up.
    # TYPE agency_backup_expected gauge
    agency_backup_expected 1
  '';

  common = {
    type = "oneshot";
    user = "root";
    # A path is on a disk of this machine; PostgreSQL answers on a socket in the file system.
    network = if isPath then "none" else "open";
    inherit secrets;
    path = [
      pkgs.restic
      pkgs.util-linux # setpriv: restic ends with the program
    ]
    ++ lib.optional isSftp pkgs.openssh
    ++ lib.optional (cfg.databases != [ ]) server.package;
    after = [ "network.target" ] ++ lib.optional (cfg.databases != [ ]) "postgresql.target";
    unitConfig = lib.optionalAttrs isPath { RequiresMountsFor = dirOf cfg.repository; };
    # Root may read what is others', and write nothing but its own.
    relax = {
      CapabilityBoundingSet = "CAP_DAC_READ_SEARCH";
      SystemCallFilter = [
        "@system-service"
        "~@privileged @resources"
        "capset" # setpriv makes the call always; nothing is gained by it
      ];
    };
    restartIfChanged = false; # a switch does not end a backup that runs
    serviceConfig = {
      StateDirectory = state;
      StateDirectoryMode = "0700";
      ReadWritePaths = [ metrics ] ++ lib.optional isPath "-${dirOf cfg.repository}";
      MemoryMax = cfg.memoryMax;
      TasksMax = 128;
      TimeoutStartSec = "${toString (2 * cfg.timeoutHours)}h";
      Nice = 10;
    };
  };
in
{
  imports = [
    ./base.nix
    ./agents
    ./control
    ./gitlab.nix
    ./matrix.nix
    ./memory.nix
    ./observability
    ./postgresql.nix
  ];

  options.agency.backup = {
    enable =
      opt.bool (backup != null) "Back up what is not in git."
      // opt.md "whether the instance has a `backup`";
    repository =
      opt.nullOr types.singleLineStr "Where restic keeps the backups: off the machine, or on a disk that survives it. Credentials are secrets, never part of it."
      // {
        default = if backup == null then null else backup.repository;
        example = "sftp:agency@backup.example.org:/srv/agency";
      }
      // opt.md "backup.repository of the instance";
    appendOnly =
      opt.bool (
        if backup == null then false else backup.appendOnly or false
      ) "The place lets nothing be removed, so nothing is tried to; old snapshots are removed there."
      // opt.md "backup.appendOnly of the instance";
    startAt = opt.line "04:15" "When a backup is made, as a systemd calendar event.";
    maxAgeHours =
      opt.between 1 8784 26
        "Hours after which `agency backup verify` calls the newest snapshot late. The alert BackupLate has 26 of its own.";
    timeoutHours = opt.between 1 48 6 "Hours that one run of restic, or one dump, may take.";
    memoryMax = opt.str "1G" "Most memory that a backup may use.";
    retention = {
      daily = opt.between 1 3650 7 "Days of which the newest snapshot is kept.";
      weekly = opt.between 0 520 5 "Weeks of which the newest snapshot is kept.";
      monthly = opt.between 0 120 12 "Months of which the newest snapshot is kept.";
    };
    verify = {
      startAt = opt.line "Sun 06:15" "When the repository is verified, as a systemd calendar event.";
      percent =
        opt.between 0 100 10
          "Share of the stored data that is read each time; the newest copies are read whole in any case.";
    };
    databases = opt.listOf types.str "Databases of the shared PostgreSQL that are dumped. Features add theirs; GitLab's is in its own backup.";
    stores = opt.attrsOf types.path "SQLite files that are copied while they are used, by name. `control` is the control plane's.";
    trees = opt.attrsOf types.path "Directories that are backed up as they are, by name.";
    stops = opt.listOf types.str "Units that a restore in place stops first, in this order, and starts again. Features add theirs.";
  };

  config = lib.mkMerge [
    {
      # Also where backup is off: what a machine has does not depend on it.
      agency.backup = {
        databases = lib.filter (
          one: !(gitlab && one == config.services.gitlab.databaseName)
        ) agency.postgresql.databases;
        stores =
          lib.optionalAttrs (control && !onPostgresql) { control = "/var/lib/${controlUser}/control.db"; }
          // lib.optionalAttrs grafana {
            grafana = config.services.grafana.settings.database.path;
          };
        trees =
          lib.optionalAttrs agency.matrix.enable {
            media = config.services.matrix-synapse.settings.media_store_path;
          }
          // lib.optionalAttrs agency.issued.enable { issued = "/var/lib/agency/issued"; }
          // lib.optionalAttrs agency.audit.enable { agents-audit = "/var/log/agency-agents"; }
          // lib.optionalAttrs gitlab { gitlab = agency.gitlab.backup.path; }
          // lib.optionalAttrs (gitlab && agency.gitlab.registry.enable) {
            registry = config.services.dockerRegistry.storagePath;
          };
        stops =
          lib.optionals control [
            "agency-control.socket"
            "agency-control.service"
          ]
          ++ lib.optionals agency.audit.enable [
            "agency-audit.socket"
            "agency-audit.service"
          ]
          ++ lib.optional agency.matrix.enable "matrix-synapse.service"
          ++ lib.optional (gitlab && agency.gitlab.registry.enable) "docker-registry.service"
          ++ lib.optional grafana "grafana.service";
      };
      # Root reads the databases as their administrator, which it can become anyhow.
      services.postgresql.identMap = lib.mkIf (cfg.databases != [ ]) ''
        postgres root postgres
      '';
    }
    (lib.mkIf cfg.enable {
      assertions = [
        {
          assertion = cfg.repository != null;
          message = ''
            agency.backup: it is on, and there is no repository.
            Set `backup: {repository: ...}` in instance.yaml and run `agency render`, or set agency.backup.repository.
          '';
        }
        {
          assertion = lib.all name.check (lib.attrNames (cfg.stores // cfg.trees));
          message = ''
            agency.backup: names of stores and trees are a-z, 0-9 and inner dashes.
            Rename ${
              lib.concatStringsSep ", " (
                lib.filter (one: !name.check one) (lib.attrNames (cfg.stores // cfg.trees))
              )
            }.
          '';
        }
      ];
    })
    (lib.mkIf (cfg.enable && cfg.repository != null) {
      environment.etc.${etc}.text = builtins.toJSON settings;
      # Where systemd reads the credentials, for a run by hand.
      environment.etc."agency/backup.credentials.json".text = builtins.toJSON (
        lib.genAttrs secrets (secret: agency.secrets.${secret}.path)
      );
      # By hand: a restore, or restic itself.
      environment.systemPackages = [ pkgs.restic ];

      agency.units.agency-backup = common // {
        description = "Backup of what is not in git";
        command = [
          "backup"
          "create"
          "--config"
          "/etc/${etc}"
        ];
        timer = {
          OnCalendar = cfg.startAt;
          # Soon after a switch that turns it on, and after a time when the machine was off.
          OnActiveSec = "10min";
          Persistent = true;
          RandomizedDelaySec = "10min";
        };
        # GitLab makes its own first; without it the rest is backed up.
        wants = lib.optional gitlab "gitlab-backup.service";
        after = common.after ++ lib.optional gitlab "gitlab-backup.service";
      };
      agency.units.agency-backup-verify = common // {
        description = "Verification of the backups";
        command = [
          "backup"
          "verify"
          "--config"
          "/etc/${etc}"
          "--read-data"
          (toString cfg.verify.percent)
        ];
        after = common.after ++ [ "agency-backup.service" ];
        timer = {
          OnCalendar = cfg.verify.startAt;
          Persistent = true;
          RandomizedDelaySec = "10min";
        };
      };
      agency.memory.parts.backup = cfg.memoryMax;
      agency.gitlab.backup.startAt = lib.mkIf gitlab (lib.mkDefault [ ]);

      agency.observability.textfiles = true;
      systemd.tmpfiles.settings.agency-metrics = {
        ${metrics}.d = {
          user = "root";
          group = "root";
          mode = "0755";
        };
      };
      # Elsewhere no Prometheus reads it.
      systemd.tmpfiles.rules = lib.mkIf (agency.platform == "nixos") [
        "L+ ${metrics}/agency-backup-expected.prom - - - - ${expected}"
      ];
    })
  ];
}
