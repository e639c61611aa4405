# NixOS tests: real machines, for where there is a builder with KVM.
{
  pkgs,
  lib,
  modules,
}:
let
  # The suite of throwaway guests, word for word.
  guestSuite = lib.fileset.toSource {
    root = ../..;
    fileset = lib.fileset.fileFilter (file: file.hasExt "py") ../../guest;
  };
in
{
  # The throwaway machine boots, its units come up, and the testinfra suite holds on it.
  throwaway = pkgs.testers.runNixOSTest {
    name = "agency-throwaway";
    # The host names its own platform.
    node.pkgsReadOnly = false;
    nodes.machine =
      {
        config,
        lib,
        pkgs,
        ...
      }:
      {
        imports = [
          modules.default
          ../../../hosts/throwaway
        ];
        networking.hostName = "machine";
        agency.instance.directory = ../../../instance;
        # The suite asks the agency's own naming functions.
        environment.systemPackages = [
          (pkgs.python3.withPackages (packages: [
            packages.pytest
            packages.pytest-testinfra
            config.agency.package.module
          ]))
        ];
        environment.etc."agency/guest-suite".source = guestSuite;
        virtualisation.memorySize = lib.mkDefault 2048;
      };
    testScript = builtins.readFile ./throwaway.py;
  };

  # The whole machine: every service whose program there is, started by the real systemd. Its
  # memory and the hour that GitLab's first start takes are why nothing here runs it by itself.
  full = pkgs.testers.runNixOSTest {
    name = "agency-full";
    node.pkgsReadOnly = false;
    globalTimeout = 3600;
    nodes.machine =
      { lib, pkgs, ... }:
      {
        imports = [ modules.default ];
        networking.hostName = "machine";
        networking.hosts."127.0.0.1" = [
          "agency.test"
          "element.agency.test"
          "gitlab.agency.test"
          "grafana.agency.test"
          "matrix.agency.test"
        ];
        agency.instance.directory = ./instance;
        agency.memory.machine = "32G";
        # Nobody brings a certificate: the key is made, and the certificate of it as well.
        agency.secrets = {
          wildcard-certificate-key = {
            class = lib.mkForce "A2";
            generator = lib.mkForce "rsa";
          };
          wildcard-certificate = {
            class = lib.mkForce "A2";
            generator = lib.mkForce "token";
          };
        };
        systemd.services.test-certificate = {
          requiredBy = [ "nginx.service" ];
          before = [ "nginx.service" ];
          after = [ "agency-secrets.service" ];
          serviceConfig.Type = "oneshot";
          script = ''
            cd /run/secrets
            ${lib.getExe pkgs.openssl} req -x509 -days 9 -key wildcard-certificate-key \
              -subj '/CN=*.agency.test' -addext 'subjectAltName=DNS:agency.test,DNS:*.agency.test' \
              -out wildcard-certificate
          '';
        };
        environment.systemPackages = [ pkgs.curl ];
        users.allowNoPasswordLogin = true;
        nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";
        system.stateVersion = "26.05";
        virtualisation = {
          memorySize = 16384;
          diskSize = 40960;
          cores = 4;
        };
      };
    testScript = builtins.readFile ./full.py;
  };
}
