# The homeserver: Synapse on PostgreSQL, closed to the world, with the control plane as its
# application service.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
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
  # Named one by one, so that the homeserver starts and serves while the provider is down.
  oidcProvider = {
    idp_id = "forge";
    idp_name = "Forge";
    inherit (cfg.oidc) issuer;
    client_id = "@matrix-oidc-client-id@";
    client_secret = "@matrix-oidc-client-secret@";
    discover = false;
    authorization_endpoint = "${cfg.oidc.issuer}/oauth/authorize";
    token_endpoint = "${cfg.oidc.issuer}/oauth/token";
    userinfo_endpoint = "${cfg.oidc.issuer}/oauth/userinfo";
    jwks_uri = "${cfg.oidc.issuer}/oauth/discovery/keys";
    user_profile_method = "userinfo_endpoint";
    scopes = [
      "openid"
      "profile"
      "email"
    ];
    user_mapping_provider.config = {
      localpart_template = "{{ user.nickname }}";
      display_name_template = "{{ user.name }}";
    };
  };
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
    ./base.nix
    ./edge.nix
    ./issued.nix
    ./postgresql.nix
  ];

  options.agency.matrix = {
    enable = mkOption {
      type = types.bool;
      default = services.matrix.enable or false;
      defaultText = lib.literalMD "services.matrix.enable of the instance";
      description = "Synapse, the homeserver.";
    };
    federation = mkOption {
      type = types.bool;
      default = services.matrix.federation or false;
      defaultText = lib.literalMD "services.matrix.federation of the instance";
      description = "Whether it talks to other homeservers.";
    };
    memoryMax = mkOption {
      type = types.str;
      default = "4G";
      description = "Most memory that Synapse may use.";
    };
    oidc = {
      enable = mkOption {
        type = types.bool;
        default = services.gitlab.enable or false;
        defaultText = lib.literalMD "whether the instance runs GitLab";
        description = "Log in to Matrix with an account of the forge.";
      };
      issuer = mkOption {
        type = types.str;
        default = "https://${hosts.gitlab}";
        defaultText = lib.literalMD "GitLab of the instance";
        description = "OpenID provider whose accounts may log in.";
      };
    };
  };

  config = lib.mkIf cfg.enable {
    services.matrix-synapse = {
      enable = true;
      withJemalloc = true;
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
        report_stats = false;
        # It would have the homeserver fetch whatever address somebody writes.
        url_preview_enabled = lib.mkDefault false;
        trusted_key_servers = [ ];
        app_service_config_files = lib.optional agency.control.enable (credential registration);
      }
      // lib.mapAttrs (_: credential) secrets
      // lib.optionalAttrs (!cfg.federation) { federation_domain_whitelist = [ ]; };
      extraConfigFiles = lib.optional cfg.oidc.enable (credential oidcFile);
    };

    agency.secrets = lib.genAttrs (used ++ tokens) (_: {
      consumers = [ unit ];
    });
    # The forge issues both while the machine runs; until then there is no provider.
    agency.issuedFiles = lib.mkIf cfg.oidc.enable {
      ${oidcFile} = {
        content = builtins.toJSON { oidc_providers = [ oidcProvider ]; };
        fallback = "{}";
        secrets = [
          "matrix-oidc-client-id"
          "matrix-oidc-client-secret"
        ];
        consumers = [ unit ];
      };
    };
    agency.secretTemplates = lib.mkIf agency.control.enable {
      ${registration} = {
        content = appservice;
        consumers = [ unit ];
      };
    };
    systemd.services.matrix-synapse.after = [ "postgresql.target" ];
    systemd.services.matrix-synapse.requires = [ "postgresql.target" ];
    systemd.services.matrix-synapse.serviceConfig = {
      # Upstream makes a signing key and chowns it. Ours is a credential: it is there, and read-only.
      ExecStartPre = lib.mkForce [ ];
      LoadCredential =
        map (name: agency.secrets.${name}.credential) used
        ++ lib.optional cfg.oidc.enable agency.issuedFiles.${oidcFile}.credential
        ++ lib.optional agency.control.enable "${registration}:/run/secrets/rendered/${registration}";
      MemoryMax = cfg.memoryMax;
    };

    agency.postgresql.databases = [ database ];
    # Where clients that know only the domain find the homeserver.
    agency.edge.sites.well-known = {
      host = agency.domain;
      files."/.well-known/matrix/client" = builtins.toJSON {
        "m.homeserver".base_url = "https://${hosts.matrix}";
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
