# The control plane: the unit, its user, and the one privilege it has over systemd.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) types;
  opt = import ../lib/options.nix { inherit lib; };
  cfg = config.agency.control;
  agency = config.agency;
  facts = agency.instance.facts;
  user = (import ../lib { inherit lib; }).naming.control.user;
  onPostgresql = cfg.database == "postgresql";
  contained = lib.attrNames (lib.filterAttrs (_: agent: agent.runtime == "docker") agency.agents);
  isPublic = agency.edge.enable && cfg.public;
  # Behind the edge: the page where the value of a secret is entered, and nothing else of it.
  entry = "/secrets/enter/";

  # The rendered document, with what this machine decides about itself.
  rendered = builtins.fromJSON (
    builtins.readFile (agency.instance.directory + "/generated/control.json")
  );
  # A program of the instance's own agents, as it was rendered.
  programOf =
    name:
    lib.optionalAttrs agency.agents.${name}.program.enable (
      lib.filterAttrs (key: _: key == "program") (
        lib.findFirst (one: one.name == name) { } rendered.agents
      )
    );
  configuration =
    rendered
    // {
      homeserver_url = "http://127.0.0.1:${toString agency.ports.synapse}";
      listen_port = agency.ports.control;
      agents = lib.mapAttrsToList (
        name: agent:
        {
          inherit name;
          inherit (agent) role port;
          matrix_id = agent.matrixId;
        }
        // programOf name
        // lib.optionalAttrs (agent.runtime != "systemd") { inherit (agent) runtime; }
        // lib.optionalAttrs agent.spare { inherit (agent) spare; }
      ) agency.agents;
    }
    // lib.optionalAttrs (agency.models.enable && facts.models or null != null) {
      models = rendered.models // {
        url = "http://127.0.0.1:${toString agency.ports.models}";
      };
    }
    // lib.optionalAttrs cfg.alerts { alerts = true; }
    // lib.optionalAttrs ((agency.backup.enable or false) && agency.backup.repository != null) {
      backup.max_age_hours = agency.backup.maxAgeHours;
    }
    // lib.optionalAttrs cfg.api.enable { api.listen_port = agency.ports.control-api; }
    // lib.optionalAttrs isPublic { public_url = "https://${agency.edge.sites.control.host}"; }
    // lib.optionalAttrs onPostgresql {
      database_url = "postgresql+asyncpg:///${user}?host=/run/postgresql";
    };
in
{
  imports = [
    ../memory.nix
    ../base.nix
    ../agents
    ../edge.nix
    ../postgresql.nix
  ];

  options.agency.control = {
    enable =
      opt.bool (agency.services.matrix.enable or false
      ) "The control plane: it takes commands from the control room and starts agents."
      // opt.md "whether the instance runs Matrix";
    database = opt.oneOf [
      "sqlite"
      "postgresql"
    ] "sqlite" "Where the control plane keeps its inbox, inventory and audit log.";
    alerts = opt.bool false "Take alerts from Alertmanager and say them in the control room. Observability turns it on.";
    docker.enable = opt.bool false "Let the control plane use the Docker Engine of this machine, for agents whose runtime is docker. Who may use the engine is as good as root: see docs/docker-runtime.md.";
    public = opt.bool true "Where there is an edge: the page where values of secrets are entered, as control.<domain>.";
    api.enable = opt.bool false "The HTTP interface of the control plane, for people's programs: docs/http-api.md. With the edge it is reachable from outside, at `/api/v1/` of the homeserver's name, for who holds a token.";
    memoryMax = opt.str "512M" "Most memory the control plane may use.";
    uid =
      opt.is types.int facts.names.controlUid
        "Uid and gid of the control plane, fixed because firewall rules name it."
      // opt.md "from the rendered instance";
  };

  config = lib.mkIf cfg.enable {
    users.users.${user} = {
      isSystemUser = true;
      description = "Control plane";
      inherit (cfg) uid;
      group = user;
    };
    users.groups.${user}.gid = cfg.uid;

    virtualisation.docker.enable = lib.mkIf cfg.docker.enable true;

    environment.etc."agency/control.json".text = builtins.toJSON configuration;

    agency.units.agency-control = {
      description = "Control plane of the agency";
      command = [
        "control"
        "run"
        "--config"
        "/etc/agency/control.json"
      ];
      inherit user;
      group = user;
      network = "loopback";
      secrets = [
        "matrix-as-token"
        "matrix-hs-token"
        "vault-master-key"
      ]
      ++ lib.optional cfg.alerts "alertmanager-token";
      # At the start of the machine, not only when somebody connects.
      wantedBy = [ "multi-user.target" ];
      # systemd holds the port, so that it is never free while the control plane restarts.
      socket.ListenStream =
        if cfg.api.enable then
          map (port: "127.0.0.1:${toString port}") [
            agency.ports.control
            agency.ports.control-api
          ]
        else
          "127.0.0.1:${toString agency.ports.control}";
      unitConfig.StartLimitIntervalSec = 0; # at the limit systemd would let go of the socket too
      after = [
        "network.target"
        "nftables.service"
        "matrix-synapse.service"
      ]
      ++ lib.optional onPostgresql "postgresql.target"
      ++ lib.optional cfg.docker.enable "docker.service";
      wants = [ "matrix-synapse.service" ];
      requires = [
        "agency-control.socket"
        "nftables.service"
      ]
      ++ lib.optional onPostgresql "postgresql.target";
      path = [ config.systemd.package ]; # journalctl
      restartTriggers = [ (builtins.toJSON configuration) ];
      serviceConfig = {
        StateDirectory = user;
        StateDirectoryMode = "0700";
        # Where it leaves the configuration and token of an agent it starts; systemd hands them over.
        RuntimeDirectory = user;
        RuntimeDirectoryMode = "0700";
        # Agents outlive it: systemd hands over both again when it restarts one meanwhile.
        RuntimeDirectoryPreserve = true;
        # `agents logs` reads the journal; it asks for the units of agents alone.
        SupplementaryGroups = [ "systemd-journal" ] ++ lib.optional cfg.docker.enable "docker";
        MemoryMax = cfg.memoryMax;
        TasksMax = 64;
        # A connection each: more than the limits of its server let in.
        LimitNOFILE = 4096;
        Restart = "always";
      };
    };

    agency.memory.parts.control = cfg.memoryMax;
    # The homeserver proves itself there with a token, and who is told more than strangers is root.
    agency.heldPorts = {
      control = {
        inherit user;
        clients = [
          user
        ]
        ++ lib.optional agency.matrix.enable "matrix-synapse"
        ++ lib.optional isPublic "nginx";
      };
    }
    # People's programs send their tokens there: past nginx, or from root on this machine.
    // lib.optionalAttrs cfg.api.enable {
      control-api = {
        inherit user;
        clients = [ user ] ++ lib.optional agency.edge.enable config.services.nginx.user;
      };
    };
    agency.edge.sites.control = lib.mkIf cfg.public {
      port = agency.ports.control;
      only = [ entry ];
      bodyLimit = "64k";
    };
    services.nginx.virtualHosts = lib.mkMerge [
      # The path of a link is its token.
      (lib.mkIf isPublic { control.locations.${entry}.extraConfig = "access_log off;"; })
      (lib.mkIf (cfg.api.enable && agency.edge.enable) {
        matrix.locations."/api/v1/" = {
          proxyPass = "http://127.0.0.1:${toString agency.ports.control-api}";
          recommendedProxySettings = false;
          # Events of an operation are passed on as they come.
          extraConfig = builtins.readFile ../lib/proxy-headers.conf + ''
            proxy_buffering off;
            client_max_body_size 256k;
          '';
        };
      })
    ];

    agency.postgresql = lib.mkIf onPostgresql {
      enable = true;
      databases = [ user ];
    };

    assertions = [
      {
        assertion = contained == [ ] || cfg.docker.enable;
        message = ''
          agency.agents: ${lib.concatStringsSep ", " contained} runs in a container, and the control plane may not use the Docker Engine.
          Set agency.control.docker.enable, which makes the control plane as good as root on this machine, or runtime: systemd in instance.yaml.
        '';
      }
    ];

    security.polkit.enable = true;
    security.polkit.extraConfig = builtins.readFile ./polkit.rules;
  };
}
