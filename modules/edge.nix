# The one owner of port 443: routes by the name in the TLS hello, before anything is decrypted.
#
# Names under ci.<domain> pass through to Traefik untouched; every other known name is terminated
# here with the wildcard certificate; an unknown name is refused. There is no ACME anywhere: the
# certificate is a secret of the instance.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.edge;
  agency = config.agency;
  services = agency.services;
  unit = "nginx.service";
  certificate = "wildcard-certificate";
  key = "wildcard-certificate-key";
  credential = name: "/run/credentials/${unit}/${name}";

  longestName = 512;
  terminated = "unix:/run/nginx/terminated.sock";
  passed = "unix:/run/nginx/passed.sock";
  routes =
    target:
    lib.concatStrings (lib.mapAttrsToList (name: port: "${name} ${target port};\n") cfg.passthrough);

  siteModule =
    { name, ... }:
    {
      options = {
        host =
          opt.str "${name}.${agency.domain}" "Name by which the site is reached."
          // opt.code ''"''${name}.''${config.agency.domain}"'';
        port = opt.nullOr types.port "Loopback port of the service behind it.";
        root = opt.nullOr types.path "Directory of static files.";
        only = opt.is (types.listOf types.str) [
          "/"
        ] "Path prefixes that reach the service; anything else is answered by 404, or sent to `redirect`.";
        bodyLimit = opt.str "10m" "Largest request body.";
        redirect = opt.nullOr types.str "Where whoever asks for anything else is sent. Null: nowhere.";
        timeout = opt.is types.ints.positive 75 "Seconds for which the service may send nothing.";
        streamed = opt.bool false "Pass a request's body on as it comes, in place of keeping it on disk first.";
        files = opt.attrsOf types.str "Small public JSON documents of the site, by their path.";
      };
    };

  headers = ''
    add_header Strict-Transport-Security "max-age=63072000" always;
    add_header X-Content-Type-Options nosniff always;
    add_header X-Frame-Options SAMEORIGIN always;
    add_header Referrer-Policy same-origin always;
  '';

  proxyHeaders = builtins.readFile ./lib/proxy-headers.conf;

  documents = lib.mapAttrs' (
    path: text:
    lib.nameValuePair "= ${path}" {
      alias = pkgs.writeText "document.json" text;
      extraConfig = ''
        ${headers}
        default_type application/json;
        add_header Access-Control-Allow-Origin "*" always;
      '';
    }
  );

  virtualHost = site: {
    serverName = site.host;
    onlySSL = true;
    sslCertificate = credential certificate;
    sslCertificateKey = credential key;
    locations = {
      # nginx would show a page of its own.
      "/".return = lib.mkDefault (if site.redirect == null then "404" else "302 ${site.redirect}");
    }
    // documents site.files
    // lib.optionalAttrs (site.port != null) (
      lib.genAttrs site.only (_: {
        proxyPass = "http://127.0.0.1:${toString site.port}";
        proxyWebsockets = true;
        # Upstream's own would append the client's X-Forwarded-For to the true address.
        recommendedProxySettings = false;
        extraConfig = proxyHeaders + ''
          proxy_read_timeout ${toString site.timeout}s;
          proxy_send_timeout ${toString site.timeout}s;
          ${lib.optionalString site.streamed "proxy_request_buffering off;"}
        '';
      })
    )
    // lib.optionalAttrs (site.root != null) {
      "/" = {
        inherit (site) root;
        index = "index.html";
      };
    };
    extraConfig = ''
      ${headers}
      client_max_body_size ${site.bodyLimit};
    '';
  };
in
{
  imports = [ ./base.nix ];

  options.agency.edge = {
    enable = opt.service services "edge" "nginx as the one way in.";
    sites = opt.attrsOf (types.submodule siteModule) "What is reachable from outside, by name. Features add theirs; without the edge nothing listens.";
    connections = opt.between 128 65536 2048 "Most clients at a time, of each of nginx's processes.";
    passthrough =
      opt.attrsOf types.port "Names whose TLS is passed on undecrypted, and the loopback port that takes it."
      // {
        example = {
          "*.ci.agency.example.org" = 8443;
        };
      };
  };

  config = lib.mkIf cfg.enable {
    services.nginx = {
      enable = true;
      recommendedTlsSettings = true;
      recommendedOptimisation = true;
      serverTokens = false;
      defaultListen = [
        {
          addr = terminated;
          ssl = true;
          proxyProtocol = true;
        }
      ];
      # The name that no site has: the handshake ends before any page is shown.
      virtualHosts = {
        "_" = {
          default = true;
          rejectSSL = true;
        };
      }
      // lib.mapAttrs (_: virtualHost) cfg.sites;
      commonHttpConfig = ''
        set_real_ip_from unix:;
        real_ip_header proxy_protocol;
        proxy_redirect off;
        proxy_connect_timeout 60s;
      '';
      # One connection of a client is four of nginx's: in and out of the stream, in and out of HTTP.
      eventsConfig = "worker_connections ${toString (4 * cfg.connections)};";
      appendConfig = ''
        worker_processes auto;
        worker_rlimit_nofile ${toString (8 * cfg.connections)};
      '';
      # Names of the longest domain, in the table of each context.
      serverNamesHashBucketSize = longestName;
      mapHashBucketSize = longestName;
      # Two steps, because the client's address travels in a PROXY header that only this module's
      # listeners understand: passed-through connections get the bare stream.
      streamConfig = ''
        map_hash_bucket_size ${toString longestName};
        # The longest that any site may be silent; the sites' own limits end the rest.
        proxy_timeout 1h;
        map $ssl_preread_server_name $edge_step {
          hostnames;
          ${routes (_: passed)}
          default ${terminated};
        }
        map $ssl_preread_server_name $edge_backend {
          hostnames;
          ${routes (port: "127.0.0.1:${toString port}")}
        }
        server {
          listen 0.0.0.0:443;
          listen [::]:443;
          ssl_preread on;
          proxy_protocol on;
          proxy_pass $edge_step;
        }
        server {
          listen ${passed} proxy_protocol;
          ssl_preread on;
          proxy_pass $edge_backend;
        }
      '';
    };
    agency.secrets = lib.genAttrs [ certificate key ] (_: {
      consumers = [ unit ];
    });
    systemd.services.nginx.serviceConfig.LoadCredential = [
      agency.secrets.${certificate}.credential
      agency.secrets.${key}.credential
    ];
    networking.firewall.allowedTCPPorts = [ 443 ];

    assertions = lib.mapAttrsToList (name: site: {
      assertion = site.port == null || site.root == null;
      message = ''
        agency.edge.sites.${name}: a site is either a service or a directory of files, not both.
        Remove port or root.
      '';
    }) cfg.sites;
  };
}
