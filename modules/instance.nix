# The instance: reads instance/generated/instance.json, which `agency render` makes of instance.yaml.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.instance;
  preview = (import ./lib { inherit lib; }).preview;
  rendered = cfg.directory + "/generated/instance.json";
  source = cfg.directory + "/instance.yaml";
  isRendered = builtins.pathExists rendered;

  # What keeps the rest of the configuration evaluable while the assertion below is the message.
  unrendered = {
    name = "unrendered";
    domain = "unrendered.invalid";
    operators = [ ];
    services = { };
    agentsResolved = [ ];
    recipes = { };
    ports = { };
    names = { };
    secretsRequired = [ ];
    secrets.provider = "sops";
    sourceDigest = "";
  };
in
{
  options.agency = {
    instance = {
      directory =
        opt.must types.path "Directory of the instance: `instance.yaml` and what `agency render` wrote under `generated/`."
        // {
          example = lib.literalExpression "inputs.instance";
        };
      facts =
        opt.must (types.attrsOf types.anything) "The rendered instance as it was read. Modules take their defaults from it."
        // {
          readOnly = true;
        };
    };
    name = opt.must types.str "Name of the instance.";
    domain = opt.must types.str "Domain under which every service of the instance has its name.";
    operators = opt.must (types.listOf types.str) "Full Matrix ids of those who may command the agency.";
    services =
      opt.is (types.attrsOf types.anything) cfg.facts.services
        "Which services run, as instance.yaml says it. A host that runs less than its instance sets it."
      // opt.md "services of the instance";
    preview =
      opt.is (types.listOf (types.enum (lib.attrNames preview.unwritten))) (cfg.facts.preview or [ ])
        "Features to set up although their programs are not part of this version. Their units fail, say so, and are not restarted."
      // opt.md "preview of the instance";
    ports = opt.must (types.attrsOf types.port) "Loopback port of each service, by its name.";
  };

  config = {
    agency = {
      instance.facts = if isRendered then builtins.fromJSON (builtins.readFile rendered) else unrendered;
      name = lib.mkDefault cfg.facts.name;
      domain = lib.mkDefault cfg.facts.domain;
      operators = lib.mkDefault cfg.facts.operators;
      ports = lib.mapAttrs (_: lib.mkDefault) cfg.facts.ports;
    };

    assertions = [
      {
        assertion = isRendered;
        message = ''
          agency.instance: ${toString cfg.directory} has no generated/instance.json.
          Run `agency render` in the instance's directory and commit what it writes.
        '';
      }
      {
        assertion =
          !isRendered
          || (builtins.pathExists source && builtins.hashFile "sha256" source == cfg.facts.sourceDigest);
        message = ''
          agency.instance: generated/instance.json is stale: instance.yaml has changed since it was rendered.
          Run `agency render` in the instance's directory and commit what it writes.
        '';
      }
    ]
    ++ map (collision: {
      assertion = false;
      message = ''
        agency.ports: port ${collision.value} is claimed by ${lib.concatStringsSep ", " collision.names}.
        Give one of them another port with agency.ports.<name>.
      '';
    }) ((import ./lib { inherit lib; }).assertions.collisions config.agency.ports);
  };
}
