# The forge's two runners, and their access to the machine.
#
# Jobs of protected branches run in unprivileged containers that see /dev/kvm. Jobs of merge
# requests are unreviewed code: their runner is a client of the sandbox service and
# starts nothing on this machine. No job sees Docker's socket.
{
  config,
  lib,
  ...
}:
let
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.gitlab-runner;
  agency = config.agency;
  inherit ((import ./lib { inherit lib; }).preview) allows;
  unit = "gitlab-runner.service";
  program = "${agency.prefix}/bin/agency";

  token = {
    protected = "gitlab-runner-token";
    sandbox = "gitlab-sandbox-runner-token";
  };
  envFile = kind: "gitlab-runner-${kind}.env";

  mentions =
    word: runner: lib.any (lib.hasInfix word) (runner.dockerVolumes ++ runner.registrationFlags);
  forEachRunner =
    ok: message:
    lib.mapAttrsToList (name: runner: {
      assertion = ok name runner;
      message = "agency.gitlab-runner: ${message name}";
    }) config.services.gitlab-runner.services;

  # The stages of GitLab's custom executor, each one call of our program.
  sandboxFlags =
    lib.concatMap
      (stage: [
        "--custom-${stage}-exec=${program}"
        "--custom-${stage}-args=sandbox"
        "--custom-${stage}-args=job-${stage}"
      ])
      [
        "config"
        "prepare"
        "run"
        "cleanup"
      ];
in
{
  imports = [
    ./memory.nix
    ./forge.nix
    ./gitlab.nix
    ./issued.nix
    ./sandbox.nix
  ];

  options.agency.gitlab-runner = {
    enable =
      opt.bool (
        agency.gitlab.enable && allows agency.preview "gitlab-runner"
      ) "Runners for GitLab's jobs."
      // opt.md "whether GitLab runs here, and the program is there or previewed";
    concurrent = opt.between 1 64 2 "Most jobs at a time, of both kinds together.";
    image = opt.str "debian:stable-slim" "Image of jobs of protected branches that name none.";
    kvm =
      opt.bool (lib.any (lib.hasPrefix "kvm") config.boot.kernelModules) "Let jobs of protected branches use /dev/kvm. Without the device every such job would fail."
      // opt.md "whether the machine loads KVM, as nixos-generate-config found it";
    memoryMax = opt.str "1G" "Most memory that the runner itself may use; its jobs are containers and sandboxes with limits of their own.";
  };

  config = lib.mkIf cfg.enable {
    services.gitlab-runner = {
      enable = true;
      settings.concurrent = cfg.concurrent;
      services = {
        protected = {
          description = "jobs of protected branches";
          executor = "docker";
          dockerImage = cfg.image;
          authenticationTokenConfigFile = "/run/credentials/${unit}/${envFile "protected"}";
          registrationFlags = [
            "--docker-cap-drop=ALL"
          ]
          # Root in an image needs these to install packages and to become another user in there.
          ++ map (one: "--docker-cap-add=${one}") [
            "CHOWN"
            "DAC_OVERRIDE"
            "FOWNER"
            "SETGID"
            "SETUID"
          ]
          ++ [
            "--docker-security-opt=no-new-privileges"
            "--docker-memory=4g"
            "--docker-pids-limit=1024"
          ]
          ++ lib.optional cfg.kvm "--docker-devices=/dev/kvm";
        };
        sandbox = {
          description = "merge requests, in sandboxes";
          executor = "custom";
          authenticationTokenConfigFile = "/run/credentials/${unit}/${envFile "sandbox"}";
          registrationFlags = sandboxFlags;
          buildsDir = "/builds";
        };
      };
    };
    systemd.services.gitlab-runner = {
      after = [ "agency-reconcile-gitlab-bootstrap.service" ];
      # Skipped, not failed, until GitLab has issued the tokens.
      unitConfig.ConditionPathExists = map (kind: agency.issuedFiles.${envFile kind}.path) (
        lib.attrNames token
      );
      serviceConfig = {
        LoadCredential = map (kind: agency.issuedFiles.${envFile kind}.credential) (lib.attrNames token);
        SupplementaryGroups = [ agency.sandbox.group ];
        MemoryMax = cfg.memoryMax;
        Restart = "on-failure";
        RestartSec = "30s";
      };
    };

    agency.memory.parts.gitlab-runner = cfg.memoryMax;
    agency.issuedFiles = lib.mapAttrs' (
      kind: secret:
      lib.nameValuePair (envFile kind) {
        content = ''
          CI_SERVER_URL=https://${agency.instance.facts.names.hosts.gitlab}
          CI_SERVER_TOKEN=@${secret}@
        '';
        secrets = [ secret ];
        consumers = [ unit ];
      }
    ) token;
    agency.reconcilers.gitlab-bootstrap.input.runners = [
      {
        description = "agency: protected branches";
        # Asked for by tag alone; whatever names no tag runs in a sandbox.
        tags = [ "protected" ] ++ lib.optional cfg.kvm "kvm";
        runUntagged = false;
        accessLevel = "ref_protected";
        issued = token.protected;
      }
      {
        description = "agency: merge requests";
        tags = [ "sandbox" ];
        runUntagged = true;
        accessLevel = "not_protected";
        issued = token.sandbox;
      }
    ];

    assertions = [
      {
        assertion = allows agency.preview "gitlab-runner";
        message = ''
          agency.preview: the program of gitlab-runner, which runs jobs in sandboxes, is not part of this version.
          Turn agency.gitlab-runner.enable off, or list gitlab-runner under preview in instance.yaml and run `agency render`.
        '';
      }
      {
        assertion = agency.sandbox.enable;
        message = ''
          agency.gitlab-runner: merge requests need the sandbox service, which is off.
          Remove agency.sandbox.enable = false, or set agency.gitlab-runner.enable = false.
        '';
      }
    ]
    ++ forEachRunner (_: runner: !(mentions "docker.sock" runner)) (name: ''
      a job that sees Docker's socket owns the machine.
      Remove it from services.gitlab-runner.services.${name}; a job that needs a machine of its own gets a sandbox.
    '')
    ++
      forEachRunner
        (
          _: runner:
          !(runner.dockerPrivileged || runner.dockerServicesPrivileged || mentions "privileged" runner)
        )
        (name: ''
          a privileged job owns the machine.
          Remove that from services.gitlab-runner.services.${name}; a job that needs a machine of its own gets a sandbox.
        '')
    ++ forEachRunner (name: runner: name == "protected" || !(mentions "/dev/kvm" runner)) (name: ''
      /dev/kvm is for jobs of protected branches, which the runner `protected` takes.
      Remove it from services.gitlab-runner.services.${name}.
    '');
  };
}
