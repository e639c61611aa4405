# What the machine and its services do, as numbers: Prometheus collects them, Grafana shows them
# (./grafana.nix), rules say when a person must look, and ./alerts.nix who hears of it. Everything
# listens on loopback.
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
in
{
  imports = [
    ../memory.nix
    ../base.nix
    ../edge.nix
    ../issued.nix
    ../matrix.nix
    ./agents-audit.nix
    ./alerts.nix
    ./grafana.nix
  ];

  options.agency.observability = {
    enable = opt.service agency.services "observability" "Prometheus, Alertmanager and Grafana.";
    retention = opt.matching "[0-9]+[dwy]" "90d" "How long numbers are kept.";
    memoryMax = opt.str "1G" "Most memory of Prometheus, and again of Grafana.";
    textfiles = opt.bool false "Whether programs leave numbers in files for the node exporter.";
    textfileDirectory =
      opt.fixed types.path "/var/lib/agency-metrics"
        "Where they leave them. Only root writes there.";
    probes = opt.attrsOf types.str "URLs on this machine that must answer with success, by the name of the service. Features add theirs.";
    rules =
      opt.is (types.listOf types.path) [ ./alerts.yml ] "Files of alert rules."
      // opt.md "the rules of this flake";
  };

  config = lib.mkIf cfg.enable {
    systemd.tmpfiles.settings.agency-metrics = lib.mkIf cfg.textfiles {
      ${cfg.textfileDirectory}.d = {
        user = "root";
        group = "root";
        mode = "0755";
      };
    };
    agency.observability.probes = lib.mkMerge [
      (lib.mkIf cfg.grafana { grafana = http ports.grafana "/api/health"; })
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
        (probe "http" cfg.probes)
      ]
      ++ lib.optional cfg.grafana (job "grafana" [ ports.grafana ])
      ++ lib.optional agency.edge.enable (probe "certificate" { edge = local 443; })
      ++ lib.optional agency.control.enable (job "control" [ ports.control ])
      ++ lib.optional agency.bridge.enable (job "bridge" [ ports.bridge ])
      ++ lib.optional (agency.ci.enable && agency.ci.engine == "builtin") (job "runner" [ ports.runner ])
      ++ lib.optional agency.dashboard.enable (job "dashboard" [ ports.dashboard ])
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
          extraFlags = [
            "--collector.systemd.enable-start-time-metrics"
          ]
          ++ lib.optional cfg.textfiles "--collector.textfile.directory=${cfg.textfileDirectory}";
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
    agency.memory.parts.prometheus = cfg.memoryMax;
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
  };
}
