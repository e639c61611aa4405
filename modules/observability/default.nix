# What the machine and its services do, as numbers: Prometheus collects them, Grafana shows them,
# rules say when a person must look, and ./alerts.nix who hears of it. Everything listens on loopback.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) types;
  opt = import ../lib/options.nix { inherit lib; };
  cfg = config.agency.observability;
  agency = config.agency;
  hosts = agency.instance.facts.names.hosts;
  ports = agency.ports;
  local = port: "127.0.0.1:${toString port}";
  http = port: path: "http://${local port}${path}";

  blackbox = {
    modules.http = {
      prober = "http";
      timeout = "5s";
      http.preferred_ip_protocol = "ip4";
    };
    modules.certificate = {
      prober = "tcp";
      timeout = "5s";
      tcp = {
        tls = true;
        preferred_ip_protocol = "ip4";
        tls_config.server_name = hosts.matrix;
      };
    };
  };
  # The kernel keeps a few percent of the machine for itself.
  smaller = {
    name = "size";
    rules = [
      {
        alert = "MachineIsSmaller";
        expr = "node_memory_MemTotal_bytes / 1024 / 1024 < ${toString (agency.memory.mib * 9 / 10)}";
        for = "5m";
        labels.severity = "warning";
        annotations = {
          summary = "The machine has less memory than its configuration says";
          description = "Set agency.memory.machine to what it has; an evaluation then says which limits do not fit.";
        };
      }
    ];
  };
  job = name: ports: {
    job_name = name;
    static_configs = [ { targets = map local ports; } ];
  };
  # The exporter is asked, with what it shall look at as a parameter.
  probe = module: targets: {
    job_name = "probe-${module}";
    metrics_path = "/probe";
    params.module = [ module ];
    static_configs = lib.mapAttrsToList (service: target: {
      targets = [ target ];
      labels = { inherit service; };
    }) targets;
    relabel_configs = [
      {
        source_labels = [ "__address__" ];
        target_label = "__param_target";
      }
      {
        source_labels = [ "__param_target" ];
        target_label = "instance";
      }
      {
        target_label = "__address__";
        replacement = local ports.blackbox-exporter;
      }
    ];
  };

  oidcFiles = {
    client_id = "grafana-oidc-client-id";
    client_secret = "grafana-oidc-client-secret";
  };
  secrets = {
    secret_key = "grafana-secret-key";
    admin_password = "grafana-admin-password";
  };
  # Grafana reads the file itself; only its place is in the configuration.
  fromFile = name: "$__file{/run/credentials/grafana.service/${name}}";
in
{
  imports = [
    ../memory.nix
    ../base.nix
    ../edge.nix
    ../issued.nix
    ../matrix.nix
    ./alerts.nix
  ];

  options.agency.observability = {
    enable = opt.service agency.services "observability" "Prometheus and Grafana.";
    retention = opt.matching "[0-9]+[dwy]" "90d" "How long numbers are kept.";
    memoryMax = opt.str "1G" "Most memory of Prometheus, and again of Grafana.";
    probes = opt.attrsOf types.str "URLs on this machine that must answer with success, by the name of the service. Features add theirs.";
    rules =
      opt.is (types.listOf types.path) [ ./alerts.yml ] "Files of alert rules."
      // opt.md "the rules of this flake";
    oidc = {
      enable =
        opt.bool (agency.services.gitlab.enable or false) "Log in to Grafana with an account of the forge."
        // opt.md "whether the instance runs GitLab";
      adminGroup =
        opt.str agency.name "Group of the forge whose members administer Grafana; anyone else may look."
        // opt.md "the instance's name";
    };
  };

  config = lib.mkIf cfg.enable {
    agency.observability.probes = lib.mkMerge [
      { grafana = http ports.grafana "/api/health"; }
      (lib.mkIf agency.matrix.enable { synapse = http ports.synapse "/health"; })
      (lib.mkIf agency.control.enable { control = http ports.control "/ready"; })
      (lib.mkIf agency.gitlab.enable { gitlab = http ports.gitlab "/users/sign_in"; })
      (lib.mkIf agency.bridge.enable { bridge = http ports.bridge "/health"; })
      (lib.mkIf agency.dashboard.enable { dashboard = http ports.dashboard "/health"; })
      (lib.mkIf (agency.ci.enable && agency.ci.engine == "drone") {
        drone = http ports.drone "/healthz";
      })
      (lib.mkIf (agency.ci.enable && agency.ci.engine == "woodpecker") {
        woodpecker = http ports.woodpecker "/healthz";
      })
    ];

    services.prometheus = {
      enable = true;
      listenAddress = "127.0.0.1";
      port = ports.prometheus;
      retentionTime = cfg.retention;
      globalConfig = {
        scrape_interval = "15s";
        evaluation_interval = "15s";
      };
      ruleFiles = cfg.rules;
      # Limits that add up to a machine of another size add up to nothing.
      rules = [ (builtins.toJSON { groups = [ smaller ]; }) ];
      scrapeConfigs = [
        (job "prometheus" [ ports.prometheus ])
        (job "node" [ ports.node-exporter ])
        (job "processes" [ ports.process-exporter ])
        (job "grafana" [ ports.grafana ])
        (probe "http" cfg.probes)
      ]
      ++ lib.optional agency.edge.enable (probe "certificate" { edge = local 443; })
      ++ lib.optional agency.control.enable (job "control" [ ports.control ])
      ++ lib.optional agency.matrix.enable (
        job "synapse" [ ports.synapse-metrics ] // { metrics_path = "/_synapse/metrics"; }
      )
      # GitLab's own services choose these addresses.
      ++ lib.optional agency.gitlab.enable (
        job "gitlab" [
          3807
          9236
        ]
      );
      exporters = {
        node = {
          enable = true;
          listenAddress = "127.0.0.1";
          port = ports.node-exporter;
          enabledCollectors = [ "systemd" ];
          # Of the rule that sees a unit restart: between two starts it is not failed.
          extraFlags = [ "--collector.systemd.enable-start-time-metrics" ];
        };
        # Agents are users of the machine, so what each uses is what its user's processes use.
        process = {
          enable = true;
          listenAddress = "127.0.0.1";
          port = ports.process-exporter;
          settings.process_names = [
            {
              name = "{{.Username}}";
              cmdline = [ ".+" ];
            }
          ];
        };
        blackbox = {
          enable = true;
          listenAddress = "127.0.0.1";
          port = ports.blackbox-exporter;
          configFile = pkgs.writeText "blackbox.json" (builtins.toJSON blackbox);
        };
      };
    };
    agency.heldPorts = {
      grafana.user = "grafana";
      prometheus.user = "prometheus";
      blackbox-exporter = {
        user = "blackbox-exporter";
        uid = (import ../lib { inherit lib; }).naming.serviceUids.blackbox-exporter;
      };
    }
    // lib.optionalAttrs agency.control.enable {
      control.clients = [
        "blackbox-exporter"
        "prometheus"
      ];
    }
    // lib.optionalAttrs agency.matrix.enable { synapse-metrics.user = "matrix-synapse"; };
    agency.memory.parts = lib.genAttrs [ "prometheus" "grafana" ] (_: cfg.memoryMax);
    systemd.services.prometheus.serviceConfig.MemoryMax = cfg.memoryMax;

    services.matrix-synapse.settings = lib.mkIf agency.matrix.enable {
      enable_metrics = true;
      listeners = [
        {
          port = ports.synapse-metrics;
          bind_addresses = [ "127.0.0.1" ];
          type = "metrics";
          tls = false;
          resources = [ ];
        }
      ];
    };

    services.grafana = {
      enable = true;
      settings = {
        server = {
          http_addr = "127.0.0.1";
          http_port = ports.grafana;
          domain = hosts.grafana;
          root_url = "https://${hosts.grafana}/";
        };
        security = {
          admin_user = "admin";
          admin_password = fromFile secrets.admin_password;
          secret_key = fromFile secrets.secret_key;
          cookie_secure = true;
          disable_gravatar = true;
        };
        users.allow_sign_up = false;
        analytics = {
          reporting_enabled = false;
          check_for_updates = false;
          check_for_plugin_updates = false;
        };
        "auth.generic_oauth" = lib.mkIf cfg.oidc.enable {
          enabled = true;
          name = "Forge";
          client_id = fromFile oidcFiles.client_id;
          client_secret = fromFile oidcFiles.client_secret;
          scopes = "openid profile email";
          auth_url = "https://${hosts.gitlab}/oauth/authorize";
          token_url = "https://${hosts.gitlab}/oauth/token";
          api_url = "https://${hosts.gitlab}/oauth/userinfo";
          login_attribute_path = "nickname";
          allow_sign_up = true;
          use_pkce = true;
          role_attribute_path = "contains(groups[*], '${cfg.oidc.adminGroup}') && 'Admin' || 'Viewer'";
        };
      };
      provision = {
        enable = true;
        datasources.settings.datasources = [
          {
            name = "Prometheus";
            uid = "prometheus";
            type = "prometheus";
            access = "proxy";
            url = "http://${local ports.prometheus}";
            isDefault = true;
          }
        ];
        dashboards.settings.providers = [
          {
            name = "agency";
            folder = "Agency";
            options.path = ./dashboards;
            allowUiUpdates = false;
          }
        ];
      };
    };
    agency.secrets = lib.genAttrs (lib.attrValues secrets) (_: {
      consumers = [ "grafana.service" ];
    });
    # Grafana starts without the forge; until the forge knows it, logging in there fails.
    agency.issuedFiles = lib.mkIf cfg.oidc.enable (
      lib.genAttrs (lib.attrValues oidcFiles) (name: {
        content = "@${name}@";
        fallback = "not-issued-yet";
        secrets = [ name ];
        consumers = [ "grafana.service" ];
      })
    );
    systemd.services.grafana.serviceConfig = {
      LoadCredential =
        map (name: agency.secrets.${name}.credential) (lib.attrValues secrets)
        ++ map (name: agency.issuedFiles.${name}.credential) (
          lib.optionals cfg.oidc.enable (lib.attrValues oidcFiles)
        );
      MemoryMax = cfg.memoryMax;
    };
    agency.edge.sites.grafana = {
      host = hosts.grafana;
      port = ports.grafana;
    };

    assertions = [
      {
        assertion = cfg.oidc.enable -> agency.gitlab.enable;
        message = ''
          agency.observability.oidc: there is no GitLab to log in with.
          Set services.gitlab.enable in instance.yaml and run `agency render`, or set agency.observability.oidc.enable = false.
        '';
      }
    ];
  };
}
