# Who hears of an alert: Alertmanager tells the control plane, which says it in the control room.
#
#   Prometheus ──▶ Alertmanager ──▶ control plane ──▶ control room
#                        └──component="control-plane"──▶ mail, webhook: the way that does not need it
{
  config,
  lib,
  ...
}:
let
  inherit (lib) types;
  opt = import ../lib/options.nix { inherit lib; };
  agency = config.agency;
  cfg = agency.alerts;
  facts = agency.instance.facts.alerts or { };
  ports = agency.ports;
  unit = "alertmanager";
  local = port: "127.0.0.1:${toString port}";
  # Alertmanager reads each when it uses it: no secret is in its configuration.
  placed = name: "/run/credentials/${unit}.service/${name}";
  ofRoom = "alertmanager-token";
  ofMail = "alerts-mail-password";
  ofWebhook = "alerts-webhook-url";

  room = {
    name = "control-room";
    webhook_configs = [
      {
        url = "http://${local ports.control}/alerts";
        send_resolved = true;
        max_alerts = 50;
        http_config = {
          authorization = {
            type = "Bearer";
            credentials_file = placed ofRoom;
          };
          follow_redirects = false;
        };
      }
    ];
  };
  second = {
    name = "second-way";
    webhook_configs = lib.optional cfg.webhook {
      url_file = placed ofWebhook;
      send_resolved = true;
      max_alerts = 50;
    };
    email_configs = lib.optional (cfg.mail != null) (
      {
        inherit (cfg.mail) smarthost from;
        to = lib.concatStringsSep ", " cfg.mail.to;
        send_resolved = true;
        require_tls = true;
      }
      // lib.optionalAttrs (cfg.mail.username != null) {
        auth_username = cfg.mail.username;
        auth_password_file = placed ofMail;
      }
    );
  };
  hasSecond = cfg.webhook || cfg.mail != null;
  # The first is everybody's; where there is none, alerts are seen in Grafana and in amtool alone.
  receivers =
    lib.optional agency.control.enable room
    ++ lib.optional hasSecond second
    ++ lib.optional (!agency.control.enable && !hasSecond) { name = "nobody"; };
  first = (lib.head receivers).name;

  secrets =
    lib.optional agency.control.enable ofRoom
    ++ lib.optional cfg.webhook ofWebhook
    ++ lib.optional (cfg.mail != null && cfg.mail.username != null) ofMail;

  mail = types.submodule {
    options = {
      smarthost = opt.must types.str "Mail server that takes them, as `host:port`. It must speak TLS.";
      from = opt.must types.str "Address that they come from.";
      to = opt.must (types.nonEmptyListOf types.str) "Who gets them.";
      username = opt.nullOr types.str "Account at the mail server. Its password is the secret `alerts-mail-password`.";
    };
  };
in
{
  imports = [
    ../memory.nix
    ../base.nix
    ../control
  ];

  options.agency.alerts = {
    mail =
      opt.is (types.nullOr mail) (facts.mail or null)
        "Mail as the second way of alerts: the one about the control plane itself needs another than the control room."
      // opt.md "alerts.mail of the instance";
    webhook =
      opt.bool (facts.webhook or false)
        "A webhook as the second way of alerts, in the format of Alertmanager. Its URL is the secret `alerts-webhook-url`."
      // opt.md "alerts.webhook of the instance";
    groupWait =
      opt.matching "[0-9]+(ms|s|m)" "30s"
        "How long a new group of alerts waits for more of its kind before it is told.";
    memoryMax = opt.str "128M" "Most memory of Alertmanager.";
  };

  config = lib.mkIf agency.observability.enable {
    services.prometheus = {
      alertmanagers = [ { static_configs = [ { targets = [ (local ports.alertmanager) ]; } ]; } ];
      scrapeConfigs = [
        {
          job_name = "alertmanager";
          static_configs = [ { targets = [ (local ports.alertmanager) ]; } ];
        }
      ];
      alertmanager = {
        enable = true;
        listenAddress = "127.0.0.1";
        port = ports.alertmanager;
        # It is one, and gossips with nobody.
        extraFlags = [ "--cluster.listen-address=" ];
        configuration = {
          route = {
            receiver = first;
            group_by = [ "alertname" ];
            group_wait = cfg.groupWait;
            group_interval = "5m";
            # The control plane tells what still fires once a day, and nothing twice.
            repeat_interval = "1d";
            routes = lib.optionals (hasSecond && agency.control.enable) [
              {
                matchers = [ ''component="control-plane"'' ];
                receiver = second.name;
                repeat_interval = "4h";
                continue = true;
              }
              { receiver = room.name; }
            ];
          };
          inherit receivers;
        };
      };
    };
    agency.secrets = lib.genAttrs secrets (_: {
      consumers = [ "${unit}.service" ];
    });
    systemd.services.${unit} = {
      # It sends a token to the control plane's port.
      requires = [ "nftables.service" ];
      after = [ "nftables.service" ];
      serviceConfig = {
        LoadCredential = map (name: agency.secrets.${name}.credential) secrets;
        MemoryMax = cfg.memoryMax;
      };
    };
    agency.memory.parts.alertmanager = cfg.memoryMax;
    # Who may post there rings in the control room, and may silence an alert: nobody else does.
    agency.heldPorts = {
      alertmanager = {
        user = unit;
        uid = (import ../lib { inherit lib; }).naming.serviceUids.alertmanager;
        clients = [ "prometheus" ];
      };
    }
    // lib.optionalAttrs agency.control.enable { control.clients = [ unit ]; };
    agency.control.alerts = lib.mkDefault agency.control.enable;
  };
}
