# The homeserver: Synapse on PostgreSQL, closed to the world, with the control plane as its
# application service.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.matrix;
  agency = config.agency;
  services = agency.services;
  hosts = agency.instance.facts.names.hosts;
  port = agency.ports.synapse;
  unit = "matrix-synapse.service";
  database = "matrix-synapse";
  credential = name: "/run/credentials/${unit}/${name}";
  registration = "appservice-agency.yaml";
  secrets = {
    registration_shared_secret_path = "matrix-registration-shared-secret";
    signing_key_path = "matrix-signing-key";
    macaroon_secret_key_path = "matrix-macaroon-secret-key";
    form_secret_path = "matrix-form-secret";
  };
  used = lib.attrValues secrets;
  oidcFile = "matrix-oidc.yaml";
  oidcSecrets = [
    "matrix-oidc-client-id"
    "matrix-oidc-client-secret"
  ];
  # GitLab's.
  endpoints = {
    authorization = {
      what = "its log-in";
      default = "/oauth/authorize";
    };
    token = {
      what = "tokens for codes";
      default = "/oauth/token";
    };
    userinfo = {
      what = "the claims of who logs in";
      default = "/oauth/userinfo";
    };
    jwks = {
      what = "its public keys";
      default = "/oauth/discovery/keys";
    };
  };
  isPortable = agency.platform == "portable";
  plainLog = {
    version = 1;
    disable_existing_loggers = false;
    formatters.plain.format = "%(levelname)s %(name)s: [%(request)s] %(message)s";
    handlers.stderr = {
      class = "logging.StreamHandler";
      formatter = "plain";
    };
    root = {
      level = "INFO";
      handlers = [ "stderr" ];
    };
  };
  isPlain = lib.hasPrefix "http://" cfg.oidc.issuer;
  isLoopback = builtins.match "http://127\\.0\\.0\\.1(:[0-9]+)?" cfg.oidc.issuer != null;
  # Named one by one, so that the homeserver starts and serves while the provider is down.
  oidcProvider = {
    idp_id = cfg.oidc.id;
    idp_name = cfg.oidc.name;
    inherit (cfg.oidc) issuer scopes;
    client_id = "@matrix-oidc-client-id@";
    client_secret = "@matrix-oidc-client-secret@";
    discover = false;
    # With PKCE a stolen code is useless.
    pkce_method = "always";
    authorization_endpoint = cfg.oidc.issuer + cfg.oidc.endpoints.authorization;
    token_endpoint = cfg.oidc.issuer + cfg.oidc.endpoints.token;
    userinfo_endpoint = cfg.oidc.issuer + cfg.oidc.endpoints.userinfo;
    jwks_uri = cfg.oidc.issuer + cfg.oidc.endpoints.jwks;
    user_profile_method = "userinfo_endpoint";
    user_mapping_provider.config = {
      localpart_template = cfg.oidc.localpartTemplate;
      display_name_template = "{{ user.name }}";
    };
  }
  # Synapse's word for it. What it then no longer looks at is the addresses above; tokens are still
  # verified.
  // lib.optionalAttrs cfg.oidc.plainHttp { skip_verification = true; };
  tokens = lib.optionals agency.control.enable [
    "matrix-as-token"
    "matrix-hs-token"
  ];
  # Rendered with a word in each token's place, so that the file itself is no secret.
  appservice = lib.replaceStrings (map (token: "@${token}@") tokens) (map (
    token: agency.placeholders.${token}
  ) tokens) (builtins.readFile (agency.instance.directory + "/generated/matrix/registration.yaml"));
in
{
  imports = [
    ./memory.nix
    ./base.nix
    ./edge.nix
    ./element.nix
    ./issued.nix
    ./postgresql.nix
  ];

  options.agency.matrix = {
    enable = opt.service services "matrix" "Synapse, the homeserver.";
    federation =
      opt.bool (services.matrix.federation or false) "Whether it talks to other homeservers."
      // opt.md "services.matrix.federation of the instance";
    memoryMax = opt.str "3G" "Most memory that Synapse may use.";
    oidc = {
      enable =
        opt.bool (services.gitlab.enable or false)
          "Log in to Matrix with an account of an OpenID provider: the forge, or another. What it issued, the id and secret of the homeserver's client, is in `/var/lib/agency/issued`; until then nobody can log in with it."
        // opt.md "whether the instance runs GitLab";
      id =
        opt.matching "[a-z0-9][a-z0-9_.-]{0,63}" "forge"
          "Synapse's name of the provider. It is kept with every account: with another name, they are other people.";
      name = opt.line "Forge" "What people who log in are shown.";
      issuer =
        opt.matching "https?://[^/?#]+(/[^?#]*[^/?#])?" "https://${hosts.gitlab}"
          "OpenID provider whose accounts may log in."
        // opt.md "GitLab of the instance";
      endpoints = lib.mapAttrs (
        _: one: opt.matching "/[^?#]*" one.default "Where the provider has ${one.what}, below its issuer."
      ) endpoints;
      scopes = opt.is (types.listOf (types.strMatching "[A-Za-z0-9_.:/-]+")) [
        "openid"
        "profile"
        "email"
      ] "What of an account the homeserver asks for.";
      localpartTemplate = opt.line "{{ user.nickname }}" "The localpart of the Matrix id of who logs in, as a jinja2 template over the claims `user`.";
      plainHttp = opt.bool false "Whether the provider is reached without TLS. Only one on the machine's own loopback may be: what throwaway machines log in with.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.matrix-synapse = {
      enable = true;
      # Neither jemalloc nor Python's journal handler is at hand without Nix; the journal reads stderr.
      withJemalloc = !isPortable;
      log = lib.mkIf isPortable (lib.mkForce plainLog);
      # Upstream adds it only where the provider is in the settings, and ours is in a file of its own.
      extras = lib.optional cfg.oidc.enable "oidc";
      settings = {
        server_name = agency.domain;
        public_baseurl = "https://${hosts.matrix}/";
        listeners = [
          {
            inherit port;
            bind_addresses = [ "127.0.0.1" ];
            type = "http";
            tls = false;
            x_forwarded = true;
            resources = [
              {
                names = [ "client" ] ++ lib.optional cfg.federation "federation";
                compress = false;
              }
            ];
          }
        ];
        database = {
          name = "psycopg2";
          args = {
            user = database;
            inherit database;
            host = "/run/postgresql";
          };
        };
        enable_registration = false;
        # People steer by messages: upstream's one in five seconds would keep an operator waiting.
        rc_message = {
          per_second = 5;
          burst_count = 50;
        };
        report_stats = false;
        # Previews would make the homeserver fetch any address in a message.
        url_preview_enabled = lib.mkDefault false;
        trusted_key_servers = [ ];
        app_service_config_files = lib.optional agency.control.enable (credential registration);
      }
      // lib.mapAttrs (_: credential) secrets
      // lib.optionalAttrs (!cfg.federation) { federation_domain_whitelist = [ ]; };
      extraConfigFiles = lib.optional cfg.oidc.enable (credential oidcFile);
    };

    agency.secrets = lib.mkMerge [
      (lib.genAttrs (used ++ tokens) (_: {
        consumers = [ unit ];
      }))
      # The instance lists them if it has a forge; the provider issues them in any case.
      (lib.mkIf cfg.oidc.enable (
        lib.genAttrs oidcSecrets (_: {
          class = lib.mkDefault "C";
        })
      ))
    ];
    # Both are issued while the machine runs; until then there is no provider.
    agency.issuedFiles = lib.mkIf cfg.oidc.enable {
      ${oidcFile} = {
        content = builtins.toJSON { oidc_providers = [ oidcProvider ]; };
        fallback = "{}";
        secrets = oidcSecrets;
        consumers = [ unit ];
      };
    };
    agency.secretTemplates = lib.mkIf agency.control.enable {
      ${registration} = {
        content = appservice;
        consumers = [ unit ];
      };
    };
    # It is sent tokens and passwords, and sends a token itself.
    agency.heldPorts.synapse.user = "matrix-synapse";
    systemd.services.matrix-synapse.after = [
      "nftables.service"
      "postgresql.target"
    ];
    systemd.services.matrix-synapse.requires = [
      "nftables.service"
      "postgresql.target"
    ];
    systemd.services.matrix-synapse.serviceConfig = {
      # Upstream makes a signing key and chowns it. Ours is a credential: it is there, and read-only.
      ExecStartPre = lib.mkForce [ ];
      LoadCredential =
        map (name: agency.secrets.${name}.credential) used
        ++ lib.optional cfg.oidc.enable agency.issuedFiles.${oidcFile}.credential
        ++ lib.optional agency.control.enable "${registration}:/run/secrets/rendered/${registration}";
      MemoryMax = cfg.memoryMax;
      LimitCORE = 0;
    };

    assertions = [
      {
        assertion = cfg.oidc.enable -> (if cfg.oidc.plainHttp then isLoopback else !isPlain);
        message = ''
          agency.matrix.oidc: passwords and codes of ${cfg.oidc.issuer} would cross a network in plain HTTP, or plainHttp is set without need.
          Name an issuer with https and leave plainHttp alone; it is for http://127.0.0.1:PORT.
        '';
      }
    ];

    agency.memory.parts.synapse = cfg.memoryMax;
    agency.postgresql.databases = [ database ];
    # Where clients that know only the domain find the homeserver.
    agency.edge.sites.well-known = {
      host = agency.domain;
      redirect = lib.mkIf agency.element.enable "https://${hosts.element}/";
      files = {
        "/.well-known/matrix/client" = builtins.toJSON {
          "m.homeserver".base_url = "https://${hosts.matrix}";
        };
      }
      # Without it other homeservers ask at port 8448 of the domain, where nothing listens.
      // lib.optionalAttrs cfg.federation {
        "/.well-known/matrix/server" = builtins.toJSON { "m.server" = "${hosts.matrix}:443"; };
      };
    };
    agency.edge.sites.matrix = {
      inherit port;
      host = hosts.matrix;
      bodyLimit = "50m";
      only = [
        "/_matrix/"
        "/_synapse/client/"
      ];
    };
  };
}
