# Every assertion of the modules, and a machine on which it alone fails.
#
#   file    the module that holds it
#   says    a part of its message
#   module  laid over the complete machine
#   further whether another case has proven the same assertion, with other input
#
# With sharesPackages = false the machine has packages of its own, as its module asks for them.
{ lib }:
let
  # An agent for whom nobody has put secrets in.
  withoutSecrets = {
    mail.enable = false;
    passwords.enable = false;
    tailnet.enable = false;
    ssh.enable = false;
  };
  off =
    names:
    lib.genAttrs names (_: {
      enable = false;
    });
  forUnits = [
    "browser"
    "codingAgent"
    "taskLoop"
    "workspace"
  ];
  previewed =
    except:
    lib.mkForce (lib.remove except (lib.attrNames (lib.importJSON ../../modules/unwritten.json)));
  recipeCi = [
    "ci"
    "bridge"
    "dashboard"
  ];
  forge = [
    "gitlab"
    "gitlab-runner"
  ];
in
{
  stale-instance = {
    file = "instance.nix";
    says = "generated/instance.json is stale";
    instance = "stale";
    module = { };
  };
  unrendered-instance = {
    file = "instance.nix";
    says = "has no generated/instance.json";
    instance = "unrendered";
    module.agency.services = lib.mkOverride 10 { };
    module.agency.backup.enable = lib.mkOverride 10 false;
    module.agency.incidents.enable = lib.mkOverride 10 false;
  };
  contained-agent-without-engine = {
    file = "control/default.nix";
    says = "the control plane may not use the Docker Engine";
    module.agency.agents.pm = off forUnits // {
      runtime = lib.mkForce "docker";
    };
  };
  contained-agent-with-a-task-loop = {
    file = "agents/default.nix";
    says = "it runs in a container, and taskLoop, workspace would be of its user, outside of it";
    module.agency = {
      control.docker.enable = true;
      agents.pm =
        off [
          "browser"
          "codingAgent"
        ]
        // {
          runtime = lib.mkForce "docker";
        };
    };
  };
  service-ports-collide = {
    file = "instance.nix";
    says = "is claimed by";
    module.agency.ports.grafana = 8012;
  };
  secret-unknown = {
    file = "secrets.nix";
    says = "the instance does not list this secret";
    module.agency.secrets.never-heard-of = { };
  };
  secret-missing = {
    file = "secrets.nix";
    says = "secrets/secrets.yaml has no such key";
    module.agency.secrets.never-put-in.class = "A1";
  };
  secret-owner = {
    file = "secrets.nix";
    says = "is not a user of this machine";
    module.agency.secrets.matrix-form-secret.owner = "nobody-at-all";
  };
  secret-mode = {
    file = "secrets.nix";
    says = "gives the secret to others";
    module.agency.secrets.matrix-form-secret.mode = "0444";
  };
  secret-brought = {
    file = "secrets.nix";
    says = "nobody but an operator can bring ";
    instance = "ephemeral";
    module = {
      agency.agents = lib.genAttrs [ "pm" "dev-two" ] (_: withoutSecrets);
    };
  };
  unit-prefix = {
    file = "units.nix";
    says = "own units are told apart by their prefix";
    module.agency.units.stray = {
      description = "A unit without the prefix";
      command = [ "version" ];
    };
  };
  unwritten-program = {
    file = "units.nix";
    says = "the program of mail, for agency-agent-mail@, is not part of this version";
    module.agency.preview = previewed "mail";
  };
  superuser = {
    file = "postgresql.nix";
    says = "asks to be a superuser";
    module.services.postgresql.ensureUsers = [
      {
        name = "greedy";
        ensureClauses.superuser = true;
      }
    ];
  };
  oidc-in-plain-http = {
    file = "matrix.nix";
    says = "would cross a network in plain HTTP";
    module.agency.matrix.oidc.issuer = "http://id.agency.example";
  };
  site-twofold = {
    file = "edge.nix";
    says = "a site is either a service or a directory";
    module.agency.edge.sites.element.port = 8011;
  };
  element-alone = {
    file = "element.nix";
    says = "nothing serves Element while the edge is off";
    module.agency = off (recipeCi ++ forge ++ [ "traefik" ]) // {
      edge.enable = false;
      observability.oidc.enable = false;
    };
  };
  gitlab-without-edge = {
    file = "gitlab.nix";
    says = "not reached by its name";
    module.agency = off (
      recipeCi
      ++ [
        "edge"
        "element"
        "traefik"
      ]
    );
  };
  runner-without-sandbox = {
    file = "gitlab-runner.nix";
    says = "merge requests need the sandbox service";
    module.agency.sandbox.enable = false;
  };
  runner-with-dockers-socket = {
    file = "gitlab-runner.nix";
    says = "a job that sees Docker's socket owns the machine";
    module.services.gitlab-runner.services.protected.dockerVolumes = [
      "/var/run/docker.sock:/var/run/docker.sock"
    ];
  };
  runner-privileged = {
    file = "gitlab-runner.nix";
    says = "a privileged job owns the machine";
    module.services.gitlab-runner.services.protected.dockerPrivileged = true;
  };
  runner-with-kvm = {
    file = "gitlab-runner.nix";
    says = "/dev/kvm is for jobs of protected branches";
    module.services.gitlab-runner.services.sandbox.registrationFlags = [ "--docker-devices=/dev/kvm" ];
  };
  runner-beside-docker = {
    file = "gitlab-runner.nix";
    says = "next to a service that may use Docker, which is root";
    module.services.gitlab-runner.services.extra = {
      executor = "shell";
      authenticationTokenConfigFile = "/run/none";
    };
  };
  runner-of-unreviewed-code = {
    file = "gitlab-runner.nix";
    says = "GitLab would give code that nobody has reviewed to the runner `protected`";
    module.agency.reconcilers.gitlab-bootstrap.input.runners = lib.mkForce [
      {
        description = "agency: protected branches";
        tags = [ "protected" ];
        runUntagged = false;
        accessLevel = "not_protected";
        issued = "gitlab-runner-token";
      }
    ];
  };
  runner-without-program = {
    file = "gitlab-runner.nix";
    says = "the program of gitlab-runner, which runs jobs in sandboxes, is not part of this version";
    module.agency = {
      preview = previewed "gitlab-runner";
      gitlab-runner.enable = true;
    };
  };
  k3s-without-control = {
    file = "k3s.nix";
    says = "the control plane, which alone may use the cluster, is off";
    module.agency.control.enable = false;
  };
  memory-too-small = {
    file = "memory.nix";
    says = "the limits of containers 6G, gitlab 6G";
    module.agency.memory.machine = "16G";
  };
  memory-one-limit-more = {
    file = "memory.nix";
    says = "and the machine has 64G";
    further = true;
    module.agency.matrix.memoryMax = "48G";
  };
  own-interface-like-a-container = {
    file = "swarm.nix";
    says = "br-lan is an interface of this machine";
    module.networking.bridges.br-lan.interfaces = [ ];
  };
  traefik-too-old = {
    file = "traefik.nix";
    says = "has Traefik 3.6.0, which this machine's Docker";
    module.agency.traefik.recipe = ./recipes/old-traefik;
  };
  gitlab-newer-than-known = {
    file = "gitlab.nix";
    says = "is newer than the 17 that its bootstrap was written for";
    module.agency.gitlab.newestMajor = 17;
  };
  docker-group = {
    file = "swarm.nix";
    says = "person would be root by way of Docker";
    module.users.users.person = {
      isNormalUser = true;
      extraGroups = [ "docker" ];
    };
  };
  traefik-without-swarm = {
    file = "traefik.nix";
    says = "it is deployed on the swarm, which is off";
    module.agency = off (recipeCi ++ [ "swarm" ]);
  };
  traefik-without-edge = {
    file = "traefik.nix";
    says = "port 443 belongs to the edge, which is off";
    module.agency =
      off (
        forge
        ++ [
          "edge"
          "element"
        ]
      )
      // {
        observability.oidc.enable = false;
      };
  };
  traefik-without-recipe = {
    file = "traefik.nix";
    says = "no recipe at recipes/traefik";
    module.agency.traefik.recipe = ./recipes/none;
  };
  traefik-recipe-of-another-shape = {
    file = "traefik.nix";
    says = "publishes its ports in a way that is not known here";
    module.agency.traefik.recipe = ./recipes/short-ports;
  };
  ci-without-traefik = {
    file = "ci/default.nix";
    says = "a run deploys its recipe on the swarm behind Traefik";
    module.agency = off [ "traefik" ];
  };
  ci-without-forge = {
    file = "ci/default.nix";
    says = "no forge is known";
    module.agency.forge.url = null;
  };
  pipeline-secrets-without-pipeline = {
    file = "ci/remote.nix";
    says = "the engine builtin has no pipeline";
    module.agency.ci.pipeline.secrets.LOGIN = "registry-credentials";
  };
  gitea-actions-without-gitea = {
    file = "ci/gitea-actions.nix";
    says = "the engine gitea-actions is a part of Gitea, and the forge is gitlab";
    instance = "actions";
    module.agency = off forge // {
      observability.oidc.enable = false;
      forge = {
        kind = "gitlab";
        url = "https://git.example.org";
      };
    };
  };
  drone-licence = {
    file = "ci/drone.nix";
    says = "nobody has accepted their licences";
    instance = "drone";
    module = { };
  };
  drone-free-build = {
    file = "ci/drone.nix";
    says = "the free build of Drone has no remote runners";
    instance = "drone";
    sharesPackages = false;
    module =
      { pkgs, ... }:
      {
        agency.ci.drone = {
          acceptLicence = true;
          package = pkgs.drone-oss;
        };
      };
  };
  bridge-without-ci = {
    file = "bridge.nix";
    says = "there is no CI that a comment could start";
    module.agency = off [
      "ci"
      "dashboard"
    ];
  };
  dashboard-without-ci = {
    file = "dashboard.nix";
    says = "there is no CI whose runs it could show";
    module.agency = off [
      "ci"
      "bridge"
    ];
  };
  grafana-without-gitlab = {
    file = "observability/grafana.nix";
    says = "there is no GitLab to log in with";
    module.agency = off forge;
  };
  agent-undeclared = {
    file = "agents/default.nix";
    says = "it has no uid or no port";
    module.agency.agents.stray = withoutSecrets // {
      role = "pm";
    };
  };
  agent-uid-range = {
    file = "agents/default.nix";
    says = "is outside 4000 to 29999";
    module.agency.agents.pm.uid = 3000;
  };
  agent-name = {
    file = "agents/default.nix";
    says = "not a name that an agent may have";
    module.agency.agents."1st" = withoutSecrets // {
      role = "pm";
      uid = 4321;
      port = 20321;
    };
  };
  agent-name-of-26 = {
    file = "agents/default.nix";
    says = "Use 1 to 25 characters";
    further = true;
    module.agency.agents."aaaaaaaaaaaaaaaaaaaaaaaaaa" = withoutSecrets // {
      role = "pm";
      uid = 4321;
      port = 20321;
    };
  };
  agent-uid-collides = {
    file = "agents/default.nix";
    says = "uid 4444 belongs to";
    module = {
      agency.agents.pm.uid = 4444;
      # NixOS would say so too, without the names.
      users.enforceIdUniqueness = false;
      users.users.person = {
        isNormalUser = true;
        uid = 4444;
      };
    };
  };
  agent-port-collides = {
    file = "agents/default.nix";
    says = "port 8012 is claimed by";
    module.agency.agents.pm.port = 8012;
  };
  no-firewall = {
    file = "firewall.nix";
    says = "ports are kept to their services by nftables, which is off";
    module = {
      networking.nftables.enable = lib.mkForce false;
      # Incus would say so too.
      agency = off [
        "gitlab-runner"
        "sandbox"
      ];
    };
  };
  uid-that-is-not-fixed = {
    file = "firewall.nix";
    says = "the firewall names users by uid";
    module.agency.heldPorts.grafana.user = lib.mkForce "nobody-made-this-user";
  };
  no-home-manager = {
    file = "agents/home.nix";
    says = "home-manager is not part of this machine";
    module.agency.agents.pm.homeModules = [ { } ];
  };
  ssh-without-key = {
    file = "agents/ssh.nix";
    says = "its SSH key has no public half here";
    module.agency.agents.pm.ssh.publicKey = null;
  };
  task-loop-without-workspace = {
    file = "agents/task-loop.nix";
    says = "a task loop needs a workspace";
    module.agency.agents.pm = {
      workspace.enable = false;
      codingAgent.enable = false;
    };
  };
  coding-without-workspace = {
    file = "agents/coding-agent.nix";
    says = "coding needs a workspace";
    module.agency.agents.pm = {
      workspace.enable = false;
      taskLoop.enable = false;
    };
  };
  program-without-models = {
    file = "agents/program.nix";
    says = "it has a program, and this machine has no way to models";
    module.agency = {
      models.enable = false;
      agents.dev-two.program.enable = false;
    };
  };
  command-out-of-sight = {
    file = "agents/program.nix";
    says = "which its unit does not see";
    module.agency.agents.pm.program.run = [ "/home/alice/opencode" ];
  };
  no-login = {
    file = "hosts/agency/login.nix";
    says = "nobody could log in to this machine";
    module.agency.operatorKeys = lib.mkForce [ ];
  };
  keys-without-sshd = {
    file = "hosts/agency/login.nix";
    says = "nobody could log in to this machine";
    further = true;
    module.services.openssh.enable = false;
  };
  keys-of-a-root-who-may-not = {
    file = "hosts/agency/login.nix";
    says = "nobody could log in to this machine";
    further = true;
    module.services.openssh.settings.PermitRootLogin = "forced-commands-only";
  };
  locked-password = {
    file = "hosts/agency/login.nix";
    says = "nobody could log in to this machine";
    further = true;
    module = {
      agency.operatorKeys = lib.mkForce [ ];
      users.users.root.hashedPassword = "!";
    };
  };
  example-on-a-host = {
    file = "hosts/agency/login.nix";
    says = "is the domain of an example";
    instance = "example";
    module = { };
  };
  disk-without-disko = {
    file = "hosts/agency/disk.nix";
    says = "partitioned by disko, which is not part of this machine";
    module.agency.disk.device = "/dev/vda";
  };
  forward-nowhere = {
    file = "audit-forward.nix";
    says = "nothing to send or nowhere to send it";
    module.agency.audit.forward.enable = true;
  };
  forward-half-an-account = {
    file = "audit-forward.nix";
    says = "an account needs a password";
    module.agency.audit.forward.username = "agency";
  };
  audit-off = {
    file = "agents/audit.nix";
    says = "what they do must be on record";
    module.agency.audit.enable = false;
  };
  backup-without-a-place = {
    file = "backup.nix";
    says = "it is on, and there is no repository";
    module.agency.backup.repository = lib.mkForce null;
  };
  backup-of-an-odd-name = {
    file = "backup.nix";
    says = "names of stores and trees";
    module.agency.backup.trees.Odd_Name = "/srv/odd";
  };
}
