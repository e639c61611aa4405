# Every assertion of the modules, and a machine on which it alone fails.
#
#   file    the module that holds it
#   says    a part of its message
#   module  laid over the complete machine
{ lib }:
let
  # An agent for whom nobody has put secrets in.
  withoutSecrets = {
    mail.enable = false;
    passwords.enable = false;
    tailnet.enable = false;
    ssh.enable = false;
  };
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
    module.agency.incidents.enable = lib.mkOverride 10 false;
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
    says = "nobody but an operator can bring wildcard-certificate";
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
  site-twofold = {
    file = "edge.nix";
    says = "a site is either a service or a directory";
    module.agency.edge.sites.element.port = 8011;
  };
  element-alone = {
    file = "element.nix";
    says = "nothing serves Element while the edge is off";
    module.agency.edge.enable = false;
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
    file = "agents/firewall.nix";
    says = "agents are confined by nftables, which is off";
    module.networking.nftables.enable = lib.mkForce false;
  };
  no-home-manager = {
    file = "agents/home.nix";
    says = "home-manager is not part of this machine";
    module.agency.agents.pm.homeModules = [ { } ];
  };
  browser-without-desktop = {
    file = "agents/browser.nix";
    says = "a browser needs a desktop";
    module.agency.agents.pm.desktop.enable = false;
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
  audit-off = {
    file = "agents/audit.nix";
    says = "what they do must be on record";
    module.agency.audit.enable = false;
  };
}
