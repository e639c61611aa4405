# The upstream services of the full host, with upstream's own options and nothing of ours.
let
  file = "/run/none";
  sites = [
    "bridge"
    "dashboard"
    "element"
    "example"
    "gitlab"
    "grafana"
    "matrix"
    "registry"
  ];
  machine = import <nixpkgs/nixos/lib/eval-config.nix> {
    system = null;
    modules = [
      <sops-nix/modules/sops>
      (
        { lib, pkgs, ... }:
        {
          nixpkgs.hostPlatform = "x86_64-linux";
          system.stateVersion = "26.05";
          boot.loader.systemd-boot.enable = true;
          fileSystems."/" = {
            device = "/dev/disk/by-label/nixos";
            fsType = "ext4";
          };
          networking.nftables.enable = true;
          security.polkit.enable = true;
          sops = {
            defaultSopsFile = ./bare.nix;
            validateSopsFiles = false;
            useSystemdActivation = true;
            age.keyFile = "/var/lib/key";
            secrets = lib.genAttrs (map (n: "secret-${toString n}") (lib.range 1 30)) (_: { });
          };
          users.users = lib.genAttrs [ "one" "two" ] (_: {
            isNormalUser = true;
          });
          services = {
            openssh.enable = true;
            postgresql.enable = true;
            nginx = {
              enable = true;
              virtualHosts = lib.genAttrs sites (_: {
                onlySSL = true;
                sslCertificate = file;
                sslCertificateKey = file;
                locations."/".proxyPass = "http://127.0.0.1:8000";
              });
            };
            matrix-synapse = {
              enable = true;
              settings.server_name = "example.org";
            };
            gitlab = {
              enable = true;
              initialRootPasswordFile = file;
              secrets = lib.genAttrs [
                "secretFile"
                "dbFile"
                "otpFile"
                "jwsFile"
                "activeRecordPrimaryKeyFile"
                "activeRecordDeterministicKeyFile"
                "activeRecordSaltFile"
              ] (_: file);
              registry = {
                enable = true;
                externalAddress = "registry.example.org";
                externalPort = 443;
                certFile = file;
                keyFile = file;
              };
            };
            gitlab-runner = {
              enable = true;
              services = lib.genAttrs [ "one" "two" ] (_: {
                dockerImage = "debian";
                authenticationTokenConfigFile = file;
              });
            };
            k3s = {
              enable = true;
              tokenFile = file;
            };
            prometheus = {
              enable = true;
              exporters = {
                node.enable = true;
                process.enable = true;
                blackbox = {
                  enable = true;
                  configFile = pkgs.writeText "blackbox.json" "{}";
                };
              };
            };
            grafana = {
              enable = true;
              settings.security.secret_key = "$__file{${file}}";
            };
          };
          virtualisation.docker.enable = true;
          virtualisation.incus.enable = true;
          environment.systemPackages = [
            pkgs.element-web
            pkgs.git
          ];
        }
      )
    ];
  };
in
machine.config.system.build.toplevel.drvPath
