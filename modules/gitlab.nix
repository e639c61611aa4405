# GitLab: the forge, its registry, and the login of everything else, held within one slice.
#
# Its own services speak over sockets. What reaches it from outside, and the agency's programs on
# this machine, come through the loopback port of the instance's naming.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.gitlab;
  agency = config.agency;
  services = agency.services;
  hosts = agency.instance.facts.names.hosts;
  ports = agency.ports;
  hardening = (import ./lib { inherit lib; }).hardening;
  serviceUids = (import ./lib { inherit lib; }).naming.serviceUids;
  # Of an operator of this homeserver.
  localpartOf =
    id:
    let
      found = builtins.match "@([a-z0-9][a-z0-9._-]{0,62}):${lib.escapeRegex agency.domain}" id;
    in
    if found == null then null else lib.head found;
  slice = "system-gitlab.slice";
  # The registry's user may not pass GitLab's own directory, and reads the certificate.
  registryKeys = "/var/lib/gitlab-registry";
  workhorse = "/run/gitlab/gitlab-workhorse.socket";

  credential = unit: name: "/run/credentials/${unit}.service/${name}";
  railsSecrets = {
    secretFile = "gitlab-secret-key";
    dbFile = "gitlab-db-key";
    otpFile = "gitlab-otp-key";
    jwsFile = "gitlab-jws-key";
    activeRecordPrimaryKeyFile = "gitlab-active-record-primary-key";
    activeRecordDeterministicKeyFile = "gitlab-active-record-deterministic-key";
    activeRecordSaltFile = "gitlab-active-record-salt";
  };
  rootPassword = "gitlab-initial-root-password";
  bootstrap = "gitlab-bootstrap";
  adminToken = "gitlab-admin-token";
  adminTokenDirectory = "/run/${adminToken}";
  inherit (config.services.gitlab.packages.gitlab) version;
  # Upstream's wrappers, which it offers on the path alone.
  wrapper =
    name:
    "${
      lib.findFirst (
        package: (package.name or "") == name
      ) (throw "nixpkgs' GitLab brings no ${name}") config.environment.systemPackages
    }/bin/${name}";

  # Services to which people log in with a GitLab account, and their redirect addresses.
  clients = {
    matrix = {
      enable =
        agency.matrix.enable
        && agency.matrix.oidc.enable
        && agency.matrix.oidc.issuer == "https://${hosts.gitlab}";
      redirectUri = "https://${hosts.matrix}/_synapse/client/oidc/callback";
      issued = "matrix-oidc-client";
    };
    grafana = {
      enable = agency.observability.enable && agency.observability.oidc.enable;
      redirectUri = "https://${hosts.grafana}/login/generic_oauth";
      issued = "grafana-oidc-client";
    };
    drone = {
      enable = agency.ci.enable && agency.ci.engine == "drone";
      redirectUri = "https://${hosts.drone}/login";
      scopes = [
        "api"
        "read_user"
      ];
      issued = "drone-oauth-client";
    };
    woodpecker = {
      enable = agency.ci.enable && agency.ci.engine == "woodpecker";
      redirectUri = "https://${hosts.woodpecker}/authorize";
      scopes = [ "api" ];
      issued = "woodpecker-oauth-client";
    };
  };
in
{
  imports = [
    ./memory.nix
    ./base.nix
    ./ci
    ./edge.nix
    ./issued.nix
    ./matrix.nix
    ./observability
    ./postgresql.nix
    ./reconcilers.nix
  ];

  options.agency.gitlab = {
    enable = opt.service services "gitlab" "GitLab, the forge.";
    memoryMax = opt.str "6G" "Most memory that all units of GitLab may use together.";
    cpuQuota =
      opt.matching "[0-9]+%" "400%"
        "Most processor time that all units of GitLab may use together; 100% is one core.";
    workers = opt.between 1 64 2 "Processes that answer requests. Each takes about 1.2 GB.";
    newestMajor =
      opt.between 17 99 18
        "Newest major version of GitLab whose removals this machine's operator has read. Each major version takes parts of the API away.";
    registry.enable =
      opt.bool cfg.enable "The container registry of its projects."
      // opt.code "config.agency.gitlab.enable";
    backup = {
      startAt = opt.is (types.listOf types.str) [
        "03:30"
      ] "When it is backed up, as systemd calendar events. Empty: never.";
      path = opt.path "/var/backup/gitlab" "Where backups are put. The keys that open them are among the instance's secrets, not in the backup.";
      keepDays = opt.between 1 3650 14 "Days after which a backup is removed.";
    };
    group =
      opt.is ((import ./lib { inherit lib; }).types.name
      ) agency.name "Path of the group that owns the instance's projects."
      // opt.md "the instance's name";
    bot = opt.is ((import ./lib { inherit lib; }).types.name
    ) "agency-bot" "The account with which the agency comments and reports.";
  };

  config = lib.mkIf cfg.enable {
    services.gitlab = {
      enable = true;
      host = hosts.gitlab;
      port = 443;
      https = true;
      initialRootEmail = "root@${agency.domain}";
      initialRootPasswordFile = credential "gitlab-db-config" rootPassword;
      secrets = lib.mapAttrs (_: credential "gitlab-config") railsSecrets;
      puma.workers = cfg.workers;
      backup = {
        inherit (cfg.backup) startAt path;
        keepTime = 24 * cfg.backup.keepDays;
      };
      registry = lib.mkIf cfg.registry.enable {
        enable = true;
        port = ports.registry;
        host = hosts.registry;
        externalAddress = hosts.registry;
        externalPort = 443;
        certFile = "${registryKeys}/auth.crt";
        keyFile = "${registryKeys}/auth.key";
      };
      # People are invited, and nothing is reported elsewhere.
      extraConfig = {
        gitlab = {
          signup_enabled = lib.mkDefault false;
          usage_ping_enabled = lib.mkDefault false;
          # Matrix and Grafana know people by this name: nobody may take that of another.
          username_changing_enabled = false;
          email_enabled = lib.mkDefault config.services.gitlab.smtp.enable;
        };
        gravatar.enabled = lib.mkDefault false;
        # Upstream sets `enable`, which GitLab does not read.
        monitoring.sidekiq_exporter.enabled = true;
      };
    };
    agency.memory.parts.gitlab = cfg.memoryMax;
    agency.postgresql.databases = [ config.services.gitlab.databaseName ];
    # GitLab's is a socket of systemd, which is root.
    agency.heldPorts = {
      gitlab = { };
    }
    // lib.optionalAttrs cfg.registry.enable {
      registry = {
        user = "docker-registry";
        uid = serviceUids.registry;
      };
    };

    # The first start migrates the database for minutes: beside a switch, not within it.
    systemd.targets.gitlab.wantedBy = lib.mkForce [ ];
    systemd.timers.gitlab = {
      description = "GitLab, started beside the rest of the machine";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        OnActiveSec = "1s";
        Unit = "gitlab.target";
      };
    };
    systemd.slices.system-gitlab.sliceConfig = {
      MemoryMax = cfg.memoryMax;
      MemorySwapMax = 0;
      CPUQuota = cfg.cpuQuota;
    };
    systemd.services = {
      gitlab-config.serviceConfig.LoadCredential = map (name: agency.secrets.${name}.credential) (
        lib.attrValues railsSecrets
      );
      gitlab-db-config.serviceConfig.LoadCredential = [ agency.secrets.${rootPassword}.credential ];
      redis-gitlab.serviceConfig.Slice = slice;
      docker-registry.serviceConfig = lib.mkIf cfg.registry.enable { Slice = slice; };
      docker-registry-garbage-collect.serviceConfig = lib.mkIf cfg.registry.enable { Slice = slice; };
      # The registry's own key pair is made on the machine; it must be there for its first start.
      gitlab-registry-cert.before = lib.mkIf cfg.registry.enable [ "gitlab-config.service" ];
      # Also after a run that failed: it may have issued something before.
      "agency-reconcile-${bootstrap}" = {
        onSuccess = [ "agency-issued.service" ];
        onFailure = [ "agency-issued.service" ];
      };
      # An administrator's token for the bootstrap, made where nobody needs to log in for it.
      ${adminToken} = {
        description = "GitLab's token for its bootstrap";
        after = [ "gitlab-db-config.service" ];
        requires = [ "gitlab-db-config.service" ];
        # Once a day: tmpfiles removes the file, and the next bootstrap has it made again.
        unitConfig.ConditionPathExists = "!${adminTokenDirectory}/token";
        serviceConfig = {
          Type = "oneshot";
          User = config.services.gitlab.user;
          Group = config.services.gitlab.group;
          Slice = slice;
          UMask = "0077";
          TimeoutStartSec = "10min";
          ExecStart = "${wrapper "gitlab-rails"} runner ${./lib/gitlab-admin-token.rb} ${adminTokenDirectory}/token";
        };
      };
      # Else it counts as done when it begins, and what waits for its end reads half of it.
      gitlab-backup.serviceConfig.Type = "oneshot";
      # By hand, with the time stamp of a backup: docs/backup-restore.md.
      "gitlab-restore@" = {
        description = "GitLab's restore of its backup %i";
        requires = [ "gitaly.service" ];
        after = [
          "gitaly.service"
          "gitlab-db-config.service"
        ];
        environment = {
          RAILS_ENV = "production";
          BACKUP = "%i";
          GITLAB_ASSUME_YES = "1"; # else it asks at each step
        };
        serviceConfig = {
          Type = "oneshot";
          User = config.services.gitlab.user;
          Group = config.services.gitlab.group;
          Slice = slice;
          ExecStart = "${wrapper "gitlab-rake"} gitlab:backup:restore";
        };
      };
      gitlab-http = {
        description = "GitLab on loopback";
        requires = [ "gitlab-http.socket" ];
        after = [
          "gitlab-http.socket"
          "gitlab-workhorse.service"
        ];
        serviceConfig = hardening.harden { network = "loopback"; } // {
          ExecStart = "${config.systemd.package}/lib/systemd/systemd-socket-proxyd ${workhorse}";
          DynamicUser = true;
          Slice = slice;
        };
      };
    };
    systemd.tmpfiles.settings.${adminToken}.${adminTokenDirectory}.d = {
      inherit (config.services.gitlab) user group;
      mode = "0700";
      # Reading it does not keep it.
      age = "m:20h";
    };
    systemd.sockets.gitlab-http = {
      description = "GitLab on loopback";
      wantedBy = [ "sockets.target" ];
      socketConfig.ListenStream = "127.0.0.1:${toString ports.gitlab}";
    };

    agency.secrets =
      lib.genAttrs (lib.attrValues railsSecrets) (_: {
        consumers = [ "gitlab-config.service" ];
      })
      // {
        ${rootPassword}.consumers = [ "gitlab-db-config.service" ];
      }
      // lib.listToAttrs (
        lib.concatMap (
          client:
          map (part: lib.nameValuePair "${client.issued}-${part}" { }) [
            "id"
            "secret"
          ]
        ) (lib.filter (client: client.enable) (lib.attrValues clients))
      );

    agency.reconcilers.${bootstrap} = {
      description = "Applications, runners, group and bot of GitLab";
      after = [
        "gitlab.service"
        "gitlab-http.socket"
        "${adminToken}.service"
      ];
      # Root, for what it issues is read by the units of other users through systemd alone.
      user = "root";
      credentials.${adminToken} = "${adminTokenDirectory}/token";
      timeout = 1200;
      background = true;
      input = {
        url = "http://127.0.0.1:${toString ports.gitlab}";
        issuedDir = "/var/lib/agency/issued";
        group = {
          path = cfg.group;
          name = cfg.group;
        };
        bot = {
          username = cfg.bot;
          name = "Agency";
          email = "${cfg.bot}@${agency.domain}";
        };
        # Names that GitLab cannot give to anybody need no account.
        people = map (name: {
          username = name;
          email = "${name}@${agency.domain}";
        }) (lib.filter (name: name != null && name != "root") (map localpartOf agency.operators));
        applications = lib.mapAttrsToList (
          name: client: removeAttrs client [ "enable" ] // { inherit name; }
        ) (lib.filterAttrs (_: client: client.enable) clients);
      };
      serviceConfig = {
        StateDirectory = "agency/issued";
        StateDirectoryMode = "0700";
      };
    };

    agency.edge.sites = {
      gitlab = {
        host = hosts.gitlab;
        port = ports.gitlab;
        # Pushes and packages; GitLab has limits of its own.
        bodyLimit = "0";
        streamed = true;
        timeout = 3600;
      };
      registry = lib.mkIf cfg.registry.enable {
        host = hosts.registry;
        port = ports.registry;
        bodyLimit = "0";
        streamed = true;
        timeout = 900;
      };
    };
    # Services of this machine reach it by its name, whatever the DNS outside says.
    networking.hosts."127.0.0.1" = [
      hosts.gitlab
      hosts.registry
    ];

    assertions = [
      {
        assertion = lib.toInt (lib.versions.major version) <= cfg.newestMajor;
        message = ''
          agency.gitlab: GitLab ${version} is newer than the ${toString cfg.newestMajor} that its bootstrap was written for.
          Read what it removes from the API; then set agency.gitlab.newestMajor, or keep nixpkgs where it was.
        '';
      }
      {
        assertion = agency.edge.enable;
        message = ''
          agency.gitlab: nobody can log in to a GitLab that is not reached by its name.
          Set services.edge.enable in instance.yaml and run `agency render`, or turn GitLab off.
        '';
      }
    ];
  };
}
