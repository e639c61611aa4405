# One machine's units, users, files and ports as plain values, for the walk of the tests.
#
#   config   of an evaluated host
#
# Texts of units are systemd's own. What only a program's configuration says (files it opens, ports
# it listens on or asks) is gathered here per program, by the keys that its upstream reads.
{ lib, config }:
let
  inherit (config) agency services;
  on = condition: value: lib.optionalAttrs condition value;

  leaves =
    value:
    if lib.isAttrs value && !(value ? outPath) then
      lib.concatMap leaves (lib.attrValues value)
    else if lib.isList value then
      lib.concatMap leaves value
    else if lib.isString value || lib.isPath value then
      [ (toString value) ]
    else
      [ ];
  # Absolute file names among all values of a configuration.
  named = value: lib.filter (lib.hasPrefix "/") (leaves value);
  # Ports of http addresses on this machine, likewise.
  portsOf =
    value:
    map lib.toInt (
      lib.concatMap (
        text:
        let
          found = builtins.match ".*(127\\.0\\.0\\.1|localhost):([0-9]+).*" text;
        in
        lib.optional (found != null) (lib.elemAt found 1)
      ) (leaves value)
    );

  sidekiq = services.gitlab.extraConfig.monitoring.sidekiq_exporter or { };
  forge = agency.gitlab.enable;
  observed = agency.observability.enable;
  woodpecker = services.woodpecker-server.environment or { };
  agent = services.woodpecker-agents.agents.local.environment or { };
in
{
  units = lib.mapAttrs (_: unit: {
    inherit (unit) text wantedBy requiredBy;
  }) (lib.filterAttrs (_: unit: unit.enable && (unit.text or null) != null) config.systemd.units);
  # Scripts that Nix writes for a unit, whose text the unit only points to.
  scripts = lib.mapAttrs' (
    name: service:
    lib.nameValuePair "${name}.service" (
      lib.concatStringsSep "\n" [
        service.preStart
        service.script
        service.postStart
      ]
    )
  ) (lib.filterAttrs (_: service: service.enable) config.systemd.services);
  users = lib.mapAttrs (name: user: {
    inherit (user) group home createHome;
    extraGroups =
      user.extraGroups
      ++ lib.attrNames (lib.filterAttrs (_: group: lib.elem name group.members) config.users.groups);
    mode = user.homeMode;
  }) config.users.users;
  groups = lib.attrNames config.users.groups;
  tmpfiles =
    config.systemd.tmpfiles.rules
    ++ lib.concatLists (
      lib.mapAttrsToList (
        path: kinds:
        lib.mapAttrsToList (kind: one: "${kind} ${path} ${one.mode} ${one.user} ${one.group}") kinds
      ) (lib.foldl' (all: one: all // one) { } (lib.attrValues config.systemd.tmpfiles.settings))
    );
  programs = map lib.getName config.environment.systemPackages;
  etc = lib.attrNames (lib.filterAttrs (_: file: file.enable) config.environment.etc);
  secrets = rec {
    by = if agency.secretsInstaller == "sops-nix" then null else "agency-secrets.service";
    paths =
      if by == null then
        lib.mapAttrsToList (_: secret: secret.path) config.sops.secrets
        ++ map (name: "/run/secrets/rendered/${name}") (lib.attrNames config.sops.templates)
      else
        map (one: one.path) (
          let
            told = builtins.fromJSON config.environment.etc."agency/secrets.json".text;
          in
          told.secrets ++ told.templates
        );
  };
  issued = lib.mapAttrsToList (_: secret: secret.path) (
    lib.filterAttrs (_: secret: secret.class == "C") agency.secrets
  );
  composed = lib.mapAttrs (_: file: {
    inherit (file) path;
    always = file.fallback != null;
  }) agency.issuedFiles;

  # Files that a program's configuration names.
  opens =
    on agency.matrix.enable {
      # Its pid file is for a Synapse that puts itself in the background, which no unit does.
      "matrix-synapse.service" = named (removeAttrs services.matrix-synapse.settings [ "pid_file" ]);
    }
    // on forge {
      "docker-registry.service" = named services.dockerRegistry.extraConfig;
      "gitlab.service" = named services.gitlab.extraConfig;
    }
    // on observed {
      "grafana.service" = map (lib.removePrefix "$__file{") (
        map (lib.removeSuffix "}") (
          lib.filter (lib.hasPrefix "$__file{") (leaves services.grafana.settings)
        )
      );
    }
    // on agency.edge.enable {
      "nginx.service" = lib.concatMap named (
        lib.mapAttrsToList (_: host: {
          inherit (host) sslCertificate sslCertificateKey root;
        }) (lib.filterAttrs (_: host: !host.rejectSSL) services.nginx.virtualHosts)
      );
    }
    // lib.mapAttrs' (
      name: one:
      lib.nameValuePair "agency-reconcile-${name}.service" (named (removeAttrs one.input [ "projects" ]))
    ) agency.reconcilers;

  # Listeners by TCP port, as far as its configuration switches it on.
  listens =
    lib.mapAttrsToList (name: socket: {
      unit = "${name}.socket";
      ports = map lib.toInt (
        lib.filter (port: builtins.match "[0-9]+" port != null) (
          map (address: lib.last (lib.splitString ":" (toString address))) (
            lib.toList (socket.socketConfig.ListenStream or [ ]) ++ socket.listenStreams
          )
        )
      );
    }) config.systemd.sockets
    ++ lib.mapAttrsToList (unit: ports: { inherit unit ports; }) (
      on agency.edge.enable { "nginx.service" = [ 443 ]; }
      // on agency.matrix.enable {
        "matrix-synapse.service" = map (one: one.port) services.matrix-synapse.settings.listeners;
      }
      // on forge {
        "gitaly.service" = [ 9236 ];
        # GitLab reads `enabled`; a key `enable` is nothing to it.
        "gitlab-sidekiq.service" = lib.optional (sidekiq.enabled or false) (sidekiq.port or 3807);
        "docker-registry.service" =
          lib.optional services.gitlab.registry.enable services.dockerRegistry.port;
      }
      // on observed {
        "grafana.service" = [ services.grafana.settings.server.http_port ];
        "prometheus.service" = [ services.prometheus.port ];
        "alertmanager.service" = [ services.prometheus.alertmanager.port ];
        "prometheus-node-exporter.service" = [ services.prometheus.exporters.node.port ];
        "prometheus-process-exporter.service" = [ services.prometheus.exporters.process.port ];
        "prometheus-blackbox-exporter.service" = [ services.prometheus.exporters.blackbox.port ];
      }
      // on agency.k3s.enable {
        "k3s.service" = [
          6443
          10250
        ];
      }
      // on agency.bridge.enable { "agency-bridge.service" = [ agency.ports.bridge ]; }
      // on (agency.units ? agency-runner) { "agency-runner.service" = [ agency.ports.runner ]; }
      // on agency.dashboard.enable { "agency-dashboard.service" = [ agency.ports.dashboard ]; }
      // on agency.traefik.enable {
        "agency-reconcile-traefik.service" = [
          agency.ports.traefik
          agency.ports.traefik-http
        ];
      }
      // on (woodpecker != { }) { "woodpecker-server.service" = portsOf woodpecker; }
      // on (agency.issuedFiles ? "drone-server.env") {
        "drone-server.service" = [ agency.ports.drone ];
      }
    );

  # Clients of this machine's TCP ports.
  asks = lib.mapAttrsToList (by: ports: { inherit by ports; }) (
    {
      edge =
        portsOf (
          lib.mapAttrsToList (_: host: lib.mapAttrsToList (_: one: one.proxyPass) host.locations) (
            on agency.edge.enable services.nginx.virtualHosts
          )
        )
        ++ lib.optionals agency.edge.enable (lib.attrValues agency.edge.passthrough);
      agent = portsOf agent;
    }
    // on observed {
      prometheus = portsOf services.prometheus.scrapeConfigs;
      grafana = portsOf services.grafana.provision.datasources.settings.datasources;
    }
    // lib.mapAttrs' (
      name: one: lib.nameValuePair "reconcile-${name}" (portsOf one.input)
    ) agency.reconcilers
  );

  # Command lines of our program that other programs are told to run.
  commands =
    lib.mapAttrs (_: unit: unit.command) agency.units
    // lib.concatMapAttrs (
      runner: one:
      let
        stage = flag: builtins.match "--custom-([a-z]+)-args=(.*)" flag;
        parsed = map stage (lib.filter (flag: stage flag != null) one.registrationFlags);
      in
      lib.mapAttrs' (
        name: words: lib.nameValuePair "gitlab-runner ${runner} ${name}" (map lib.last words)
      ) (lib.groupBy lib.head parsed)
    ) (on agency.gitlab-runner.enable services.gitlab-runner.services);
}
