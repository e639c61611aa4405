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

  digest = lib.optionalString (cfg.imageDigest != null) "@${cfg.imageDigest}";
  # By its own name.
  isPinned = lib.hasInfix "@sha256:" cfg.image;
  told = agency.reconcilers.gitlab-bootstrap.input.runners;

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
    imageDigest =
      opt.nullOr (lib.types.strMatching "sha256:[0-9a-f]{64}") "Digest of the image, as `docker buildx imagetools inspect IMAGE` shows it. Without it a job runs what the registry calls by that name on its day, and each evaluation warns."
      // {
        example = "sha256:${lib.concatStrings (lib.genList (_: "0123456789abcdef") 4)}";
      };
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
          dockerImage = if isPinned then cfg.image else "${cfg.image}${digest}";
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

    warnings = lib.optional (!isPinned && cfg.imageDigest == null) ''
      agency.gitlab-runner.image: ${cfg.image} is what its registry calls so on the day of a job.
      Set agency.gitlab-runner.imageDigest; `docker buildx imagetools inspect ${cfg.image}` shows it.
    '';
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
    ++ [
      {
        assertion = lib.all (
          one: one.issued != token.protected || (one.accessLevel == "ref_protected" && !one.runUntagged)
        ) told;
        message = ''
          agency.gitlab-runner: GitLab would give code that nobody has reviewed to the runner `protected`, whose jobs run in containers of this machine.
          Leave accessLevel = "ref_protected" and runUntagged = false to it in agency.reconcilers.gitlab-bootstrap.input.runners.
        '';
      }
    ]
    ++ forEachRunner (name: runner: name == "protected" || runner.executor == "custom") (name: ''
      the jobs of ${name} would run on this machine, next to a service that may use Docker, which is root.
      Remove services.gitlab-runner.services.${name}; jobs of protected branches have the runner `protected`, all others a sandbox.
    '')
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
