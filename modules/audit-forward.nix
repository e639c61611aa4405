# The agents' audit logs elsewhere too: Grafana Alloy sends each record to a Loki. Off unless asked
# for, since it takes what agents did off the machine.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  agency = config.agency;
  cfg = agency.audit.forward;
  credential = "loki-password";
  # Alloy's strings are escaped as JSON's are.
  text = builtins.toJSON;
  login = lib.optionalString (cfg.username != null) ''

    basic_auth {
      username      = ${text cfg.username}
      password_file = ${text "/run/credentials/alloy.service/${credential}"}
    }
  '';
  indented = lib.replaceStrings [ "\n" ] [ "\n    " ];
in
{
  imports = [
    ./agents
    ./memory.nix
  ];

  options.agency.audit.forward = {
    enable = opt.enable "Send the agents' audit logs to a Loki, by Grafana Alloy.";
    url =
      opt.nullOr (types.strMatching "(https://|http://127[.])[^[:space:]]+") "Where Loki takes them, by TLS or on this machine."
      // {
        example = "https://loki.example.org/loki/api/v1/push";
      };
    username = opt.nullOr types.singleLineStr "Account at the Loki. Null: it asks for none.";
    passwordFile =
      opt.nullOr
        (types.pathWith {
          absolute = true;
          inStore = false;
        })
        "File on the machine with the account's password, for root alone. Not in the store, which everybody reads.";
    memoryMax = opt.str "256M" "Most memory of Alloy.";
  };

  config = lib.mkMerge [
    {
      assertions = [
        {
          assertion = cfg.enable -> cfg.url != null && agency.audit.enable;
          message = ''
            agency.audit.forward: it is on, and there is nothing to send or nowhere to send it.
            Set agency.audit.forward.url, and have agents; or turn it off.
          '';
        }
        {
          assertion = (cfg.username == null) == (cfg.passwordFile == null);
          message = ''
            agency.audit.forward: an account needs a password, and a password an account.
            Set both username and passwordFile, or neither.
          '';
        }
      ];
    }
    (lib.mkIf cfg.enable {
      services.alloy = {
        enable = true;
        extraFlags = [
          "--server.http.listen-addr=127.0.0.1:12345"
          "--disable-reporting"
        ];
      };
      # A closed log has another name, under which its records would be sent again.
      environment.etc."alloy/config.alloy".text = ''
        local.file_match "agents_audit" {
          path_targets = [{
            "__path__"         = "/var/log/agency-agents/*.jsonl",
            "__path_exclude__" = "/var/log/agency-agents/*.*.jsonl",
            "job"              = "agency-agents-audit",
            "instance"         = ${text agency.name},
          }]
        }

        loki.source.file "agents_audit" {
          targets    = local.file_match.agents_audit.targets
          forward_to = [loki.process.agents_audit.receiver]
        }

        loki.process "agents_audit" {
          forward_to = [loki.write.agents_audit.receiver]

          stage.json {
            expressions = { "agent" = "", "at" = "" }
          }

          stage.labels {
            values = { "agent" = "" }
          }

          stage.timestamp {
            source = "at"
            format = "RFC3339Nano"
          }
        }

        loki.write "agents_audit" {
          endpoint {
            url = ${text (toString cfg.url)}${indented login}
          }
        }
      '';
      systemd.services.alloy.serviceConfig = {
        # Of the logs; the journal is not sent.
        SupplementaryGroups = lib.mkForce [ "adm" ];
        LoadCredential = lib.optional (cfg.passwordFile != null) "${credential}:${cfg.passwordFile}";
        MemoryMax = cfg.memoryMax;
        CapabilityBoundingSet = "";
        LimitCORE = 0;
        NoNewPrivileges = true;
        PrivateDevices = true;
        ProtectHome = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        ProtectSystem = "strict";
        RestrictAddressFamilies = "AF_UNIX AF_INET AF_INET6";
      };
      agency.memory.parts.alloy = cfg.memoryMax;
    })
  ];
}
