# Recipe CI: what runs the tests of a recipe. Four engines, of which `builtin` needs nothing else.
#
# Runs deploy what a merge request holds on the swarm of this machine. So a run begins only when a
# member asks for it by a comment, which the bridge checks.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) types;
  opt = import ../lib/options.nix { inherit lib; };
  cfg = config.agency.ci;
  agency = config.agency;
  facts = agency.services.ci or { };
  hosts = agency.instance.facts.names.hosts;
  configuration = {
    inherit (agency) domain;
    inherit (cfg) engine maxTests buildTimeoutMinutes;
    inherit (agency.instance.facts) recipes;
    forge = { inherit (agency.forge) kind url; };
    hosts = { inherit (hosts) bridge dashboard; };
    ports = { inherit (agency.ports) bridge dashboard runner; };
    wildcard = agency.traefik.wildcard;
    state = "/var/lib/agency-recipes";
    runner = {
      through = "https://127.0.0.1:${toString agency.ports.traefik}";
      ca = cfg.authority;
      tests = if lib.pathExists suites then "${suites}" else null;
    };
  }
  // lib.optionalAttrs (cfg.engine != "builtin") {
    engineAt = {
      url = if cfg.engine == "gitea-actions" then agency.forge.url else "https://${hosts.${cfg.engine}}";
      inherit (cfg.pipeline) repository branch;
    };
  }
  // lib.optionalAttrs (config.agency.bridge.enable or false) {
    bridge = { inherit (config.agency.bridge) allow maxAgeHours; };
  }
  // lib.optionalAttrs (config.agency.dashboard.enable or false) {
    inherit (config.agency.dashboard) retentionDays;
  };
  suites = agency.instance.directory + "/tests/recipes";
in
{
  imports = [
    ../memory.nix
    ../base.nix
    ../edge.nix
    ../forge.nix
    ../issued.nix
    ../swarm.nix
    ../traefik.nix
    ./drone.nix
    ./gitea-actions.nix
    ./remote.nix
    ./runner.nix
    ./woodpecker.nix
  ];

  options.agency.ci = {
    enable =
      opt.bool (facts.enable or false) "Recipe CI." // opt.md "services.ci.enable of the instance";
    engine =
      opt.oneOf [
        "builtin"
        "drone"
        "woodpecker"
        "gitea-actions"
      ] (facts.engine or "builtin") "What queues and starts runs."
      // opt.md "services.ci.engine of the instance";
    maxTests =
      opt.between 1 64 (facts.maxTests or 2) "Runs at a time. Further ones wait."
      // opt.md "services.ci.maxTests of the instance";
    buildTimeoutMinutes = opt.between 5 1440 60 "Minutes after which a run is ended, whatever it does.";
    authority = opt.nullOr types.path "Certificate of the authority that signed Traefik's, where it is none that everybody trusts.";
    memoryMax = opt.str "2G" "Most memory of what runs the tests; the apps under test are services of the swarm.";
  };

  config = lib.mkIf cfg.enable {
    agency.package = lib.mkDefault (pkgs.callPackage ../../packages/agency { withBrowser = true; });
    agency.memory.parts.ci = cfg.memoryMax;
    # Runs give way to what people wait for.
    systemd.slices.agency-recipes = {
      description = "Runs of recipe CI, and what starts them";
      sliceConfig = {
        MemoryMax = cfg.memoryMax;
        CPUWeight = 50;
      };
    };
    # Pages under test are made of letters, on a machine that has no use for any.
    fonts = {
      fontconfig.enable = true;
      packages = [ pkgs.dejavu_fonts ];
    };
    environment.etc."agency/recipes.json".text = builtins.toJSON configuration;

    assertions = [
      {
        assertion = agency.swarm.enable && agency.traefik.enable;
        message = ''
          agency.ci: a run deploys its recipe on the swarm behind Traefik, and one of them is off.
          Set services.swarm.enable and services.traefik.enable in instance.yaml and run `agency render`.
        '';
      }
      {
        assertion = agency.forge.url != null;
        message = ''
          agency.ci: no forge is known whose merge requests could be tested.
          Set services.gitlab.enable in instance.yaml, or name a forge elsewhere under forge, and run `agency render`, or set agency.forge.url.
        '';
      }
    ];
  };
}
