# Everything the tests want to know, from one evaluation.
#
#   instances  name -> directory of a rendered instance; "full" runs every service
{ instances }:
let
  agencyWith =
    instance: extraModules:
    import ../.. {
      instance = /. + instances.${instance};
      inherit extraModules;
    };
  everything = ../../modules/lib/everything.nix;
  sample = import ./sample.nix;
  machine = ./machine.nix;
  # Where it is at hand; null: what needs it is left out.
  disko =
    let
      found = builtins.tryEval <disko>;
    in
    if found.success then found.value else null;
  full = agencyWith "full" [
    everything
    sample
  ];
  inherit (full.hosts.agency.pkgs) lib;

  guestImages = (agencyWith "full" [ ]).packages;

  failing = config: map (one: one.message) (lib.filter (one: !one.assertion) config.assertions);

  user = one: {
    inherit (one)
      uid
      group
      home
      homeMode
      isNormalUser
      extraGroups
      ;
    hasPassword = lib.any (kind: one.${kind} != null) [
      "password"
      "hashedPassword"
      "hashedPasswordFile"
      "initialPassword"
      "initialHashedPassword"
    ];
  };

  agentsOf = config: lib.mapAttrs (_: agent: { inherit (agent) uid port user; }) config.agency.agents;

  host = config: {
    rootKeys = config.users.users.root.openssh.authorizedKeys.keys;
    sshd = config.services.openssh.enable;
    drvPath = config.system.build.toplevel.drvPath;
    failing = failing config;
    inherit (config) warnings;
    units = lib.mapAttrs (_: unit: unit.command) config.agency.units;
    unitTexts = lib.mapAttrs (_: unit: unit.text) (
      lib.filterAttrs (name: _: lib.hasPrefix "agency-" name) config.systemd.units
    );
    secrets = lib.mapAttrs (_: secret: {
      inherit (secret)
        class
        owner
        mode
        path
        ;
      consumers = lib.unique secret.consumers;
    }) config.agency.secrets;
    users = lib.mapAttrs (_: user) (
      lib.filterAttrs (
        name: _: lib.hasPrefix "agent-" name || lib.hasPrefix "agency-" name
      ) config.users.users
    );
    ports = config.agency.ports;
    agents = agentsOf config;
    # All that systemd and /etc are told, ours or not.
    texts =
      lib.mapAttrsToList (_: unit: unit.text) (
        lib.filterAttrs (_: unit: unit.text or null != null) config.systemd.units
      )
      ++ lib.concatMap (file: lib.optional (file.text != null) file.text) (
        lib.attrValues config.environment.etc
      )
      ++ [ (builtins.toJSON config.services.matrix-synapse.settings) ];
    control = config.environment.etc."agency/control.json".text;
    recipes = config.environment.etc."agency/recipes.json".text or null;
    recipesSlice = config.systemd.units."agency-recipes.slice".text or null;
    # Names of what the agency's own Python has, its program among it.
    python = map (one: one.name) config.agency.package.environment.paths;
    synapse = {
      inherit (config.services.matrix-synapse) extras;
      oidc = config.agency.issuedFiles."matrix-oidc.yaml".content;
    };
    sites = lib.mapAttrs (_: site: site.host) config.agency.edge.sites;
  };

  # The same packages for every machine: they are most of what an evaluation costs.
  shared.nixpkgs.pkgs = full.hosts.agency.pkgs;

  cases = import ./assertions.nix { inherit lib; };
  fire =
    case:
    failing
      (agencyWith (case.instance or "full") (
        [
          everything
          sample
          case.module
        ]
        ++ lib.optional (case.sharesPackages or true) shared
      )).hosts.agency.config;

  # A machine that runs nothing but one service and what that needs.
  withServices =
    instance: names:
    let
      machine = agencyWith instance [
        shared
        sample
        {
          agency.services = lib.genAttrs names (_: {
            enable = true;
          });
        }
      ];
      inherit (machine.hosts.agency) config;
    in
    {
      inherit (config.system.build.toplevel) drvPath;
      failing = failing config;
      # Of a machine without a control plane.
      alerting = config.services.prometheus.alertmanager.configuration;
      inherit (config) warnings;
      units = lib.attrNames config.agency.units;
    };
  withEngine =
    instance: module:
    let
      machine = agencyWith instance [
        everything
        sample
        module
      ];
      inherit (machine.hosts.agency) config;
    in
    {
      inherit (config.system.build.toplevel) drvPath;
      failing = failing config;
      alerting = config.services.prometheus.alertmanager.configuration;
      inherit (config) warnings;
      services = lib.genAttrs (lib.filter (name: config.systemd.services ? ${name}) [
        "agency-runner"
        "drone-server"
        "drone-runner"
        "woodpecker-server"
        "woodpecker-agent-local"
      ]) (name: config.systemd.units."${name}.service".text);
      issued = lib.mapAttrs (_: file: file.content) config.agency.issuedFiles;
      held = heldPorts config;
      table = config.networking.nftables.tables.agency-agents.content;
    };

  heldPorts =
    config:
    lib.mapAttrs (name: held: {
      inherit (held) user clients;
      port = config.agency.ports.${name};
      uid = if held.user == null then 0 else config.users.users.${held.user}.uid;
    }) config.agency.heldPorts;

  services = config: {
    slices = lib.mapAttrs (_: service: service.serviceConfig.Slice or null) config.systemd.services;
    gitlabSlice = config.systemd.slices.system-gitlab.sliceConfig;
    restarted = lib.mapAttrs (_: secret: secret.restartUnits) config.sops.secrets;
    reconcilers = lib.mapAttrs (_: one: one.input) config.agency.reconcilers;
    allUnits = lib.mapAttrs (_: unit: unit.text) (
      lib.filterAttrs (
        name: unit: lib.hasSuffix ".service" name && (unit.text or null) != null
      ) config.systemd.units
    );
    etc = lib.mapAttrs (_: file: file.text) (
      lib.filterAttrs (_: file: file.text != null) config.environment.etc
    );
    passthrough = config.agency.edge.passthrough;
    nginx = {
      recommended = config.services.nginx.recommendedProxySettings;
      locations = lib.mapAttrs (
        _: site:
        lib.mapAttrs (_: location: {
          inherit (location) proxyPass recommendedProxySettings extraConfig;
        }) site.locations
      ) config.services.nginx.virtualHosts;
      text = lib.concatStrings [
        config.services.nginx.commonHttpConfig
        config.services.nginx.appendHttpConfig
        config.services.nginx.httpConfig
      ];
    };
    gitlabExtra = config.services.gitlab.extraConfig.gitlab;
    coredump = config.systemd.coredump.settings.Coredump;
    held = heldPorts config;
    openPorts = config.networking.firewall.allowedTCPPorts;
    # What listens where, by what the services themselves are told.
    listeners = {
      nginx = 443;
      synapse = map (one: one.port) config.services.matrix-synapse.settings.listeners;
      gitlab = config.systemd.sockets.gitlab-http.socketConfig.ListenStream;
      gitaly = 9236;
      # GitLab reads this key, and listens only where it is set.
      sidekiq = lib.optional config.services.gitlab.extraConfig.monitoring.sidekiq_exporter.enabled (
        config.services.gitlab.extraConfig.monitoring.sidekiq_exporter.port or 3807
      );
      registry = config.services.dockerRegistry.port;
      grafana = config.services.grafana.settings.server.http_port;
      prometheus = config.services.prometheus.port;
      node = config.services.prometheus.exporters.node.port;
      process = config.services.prometheus.exporters.process.port;
      blackbox = config.services.prometheus.exporters.blackbox.port;
      kubernetes = 6443;
      kubelet = 10250;
    };
    grafana = config.services.grafana.settings;
    tables = lib.mapAttrs (_: table: table.content) config.networking.nftables.tables;
    k3s = config.services.k3s.extraFlags;
    runners = lib.mapAttrs (_: one: {
      inherit (one)
        executor
        registrationFlags
        dockerVolumes
        dockerPrivileged
        authenticationTokenConfigFile
        ;
    }) config.services.gitlab-runner.services;
    scraped = map (one: one.job_name) config.services.prometheus.scrapeConfigs;
    probes = config.agency.observability.probes;
    alerting = {
      inherit (config.services.prometheus) alertmanagers globalConfig scrapeConfigs;
      alertmanager = config.services.prometheus.alertmanager.configuration;
    };
    members = lib.attrNames (
      lib.filterAttrs (_: user: lib.elem "docker" user.extraGroups) config.users.users
    );
  };
in
{
  agency = host full.hosts.agency.config;
  services = services full.hosts.agency.config;
  alone = lib.mapAttrs (_: withServices "full") {
    matrix = [ "matrix" ];
    edge = [ "edge" ];
    element = [
      "matrix"
      "element"
      "edge"
    ];
    gitlab = [
      "gitlab"
      "edge"
    ];
    k3s = [
      "matrix"
      "k3s"
    ];
    swarm = [ "swarm" ];
    traefik = [
      "swarm"
      "traefik"
      "edge"
    ];
    ci = [
      "swarm"
      "traefik"
      "edge"
      "gitlab"
      "ci"
      "bridge"
      "dashboard"
    ];
    observability = [ "observability" ];
  };
  # With every feature on and none previewed; and with what GitLab alone turns on.
  unpreviewed =
    failing
      (agencyWith "unpreviewed" [
        everything
        sample
        shared
        { agency.preview = lib.mkForce [ ]; }
      ]).hosts.agency.config;
  headlessBrowser =
    let
      config =
        (agencyWith "full" [
          everything
          sample
          shared
          {
            agency.agents.pm = {
              desktop.enable = lib.mkForce false;
              taskLoop.command = lib.mkForce [ "my-agent" ];
            };
          }
        ]).hosts.agency.config;
      textOf = name: config.systemd.units.${name}.text;
    in
    {
      failing = failing config;
      unit = textOf "agency-agent-browser@pm.service";
      loop = textOf "agency-agent-task-loop@pm.service";
      settings = config.environment.etc."agency/agents/pm.json".text;
    };
  gitlabUnpreviewed = removeAttrs (withServices "unpreviewed" [
    "gitlab"
    "edge"
  ]) [ "drvPath" ];
  engines = {
    builtin = withEngine "full" shared;
    drone = withEngine "drone" { agency.ci.drone.acceptLicence = true; };
    woodpecker = withEngine "woodpecker" shared;
  };
  throwaway = host (agencyWith "full" [ ]).hosts.throwaway.config;
  again =
    (agencyWith "full" [
      everything
      sample
    ]).hosts.agency.config.system.build.toplevel.drvPath;
  guests =
    lib.mapAttrs
      (name: one: {
        inherit (host one.config) drvPath failing warnings;
        inherit (one.config.nix.settings) substituters;
        image = guestImages.${name}.drvPath;
        fileSystems = lib.attrNames one.config.fileSystems;
        agent = one.config.virtualisation.incus.agent.enable or false;
        sshd = one.config.services.openssh.enable;
        rootPassword = one.config.users.users.root.hashedPassword;
        units = lib.attrNames one.config.agency.units;
        programs = map lib.getName one.config.environment.systemPackages;
      })
      {
        inherit ((agencyWith "full" [ ]).hosts) throwaway throwaway-container;
      };
  checks = lib.mapAttrs (_: check: check.drvPath) (import ../.. { }).checks;
  example = {
    throwaway = (import ../.. { }).hosts.throwaway.config.system.build.toplevel.drvPath;
    agency =
      (import ../.. {
        extraModules = [
          machine
          { agency.acceptExample = true; }
        ];
      }).hosts.agency.config.system.build.toplevel.drvPath;
  };
  entry = import ./entry.nix {
    inherit
      agencyWith
      disko
      failing
      instances
      lib
      machine
      shared
      ;
  };
  other = {
    inherit
      (host
        (agencyWith "other" [
          everything
          sample
        ]).hosts.agency.config
      )
      drvPath
      failing
      control
      sites
      agents
      rootKeys
      sshd
      ;
  };
  assertions = lib.mapAttrs (_: case: {
    inherit (case) file says;
    further = case.further or false;
    fired = fire case;
  }) cases;
}
