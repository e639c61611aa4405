# Grafana: the pages over the numbers.
{
  config,
  lib,
  ...
}:
let
  opt = import ../lib/options.nix { inherit lib; };
  agency = config.agency;
  cfg = agency.observability;
  hosts = agency.instance.facts.names.hosts;
  ports = agency.ports;

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
  options.agency.observability = {
    grafana = opt.bool true "Grafana. Without it, numbers are seen at Prometheus alone; alerts are told all the same.";
    oidc = {
      enable =
        opt.bool (
          cfg.grafana && (agency.services.gitlab.enable or false)
        ) "Log in to Grafana with an account of the forge."
        // opt.md "whether the instance runs GitLab";
      adminGroup =
        opt.str agency.name "Group of the forge whose members administer Grafana; anyone else may look."
        // opt.md "the instance's name";
    };
  };

  config = lib.mkIf (cfg.enable && cfg.grafana) {
    agency.heldPorts.grafana.user = "grafana";
    agency.memory.parts.grafana = cfg.memoryMax;
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
            url = "http://127.0.0.1:${toString ports.prometheus}";
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
