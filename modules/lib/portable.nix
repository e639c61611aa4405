# The project's own units as plain files, for machines without Nix: the text that NixOS would run,
# with the package at a fixed prefix and no path into the store.
#
# What belongs to one agent is exported once, as a jinja2 template over `agent`, by evaluating an
# agent whose facts are unmistakable and putting the placeholders in their stead.
{
  lib,
  evaluate,
  modules,
}:
let
  prefix = "/opt/agency";
  sample = {
    name = "zzsample";
    uid = 29999;
    port = 31999;
  };

  inherit
    (evaluate [
      modules.default
      ./everything.nix
      {
        nixpkgs.hostPlatform = "x86_64-linux";
        system.stateVersion = "26.05";
        agency = {
          inherit prefix;
          secretsInstaller = "agency";
          agents.${sample.name} = {
            inherit (sample) uid port;
            role = "sample";
          };
        };
        # Paths of this distribution's own programs and data mean nothing elsewhere.
        systemd.globalEnvironment = lib.mkForce { };
      }
    ])
    config
    ;

  firewall = import ./agents-firewall.nix { inherit lib; };
  agent = config.agency.agents.${sample.name};
  isHome = path: lib.any (one: one.home == path) (lib.attrValues config.agency.agents);
  isSample = lib.hasInfix sample.name;

  fill =
    lib.replaceStrings
      [
        "agency-agents-${sample.name}"
        sample.name
        (toString sample.uid)
        (toString sample.port)
      ]
      [
        "agency-agents-{{ agent.name | replace('-', '_') }}"
        "{{ agent.name }}"
        "{{ agent.uid }}"
        "{{ agent.port }}"
      ];

  fillPath =
    lib.replaceStrings
      [
        "agency-agents-${sample.name}"
        sample.name
      ]
      [
        "agency-agents-AGENT_"
        "AGENT"
      ];

  # Lines that only NixOS's own switch reads.
  strip =
    text:
    lib.concatStringsSep "\n" (
      lib.filter (line: !lib.hasPrefix "X-" line) (lib.splitString "\n" (lib.removeSuffix "\n" text))
    )
    + "\n";

  ownNames =
    lib.concatMap (
      name:
      [ "${name}.service" ]
      ++ lib.optional (config.agency.units.${name}.socket != null) "${name}.socket"
      ++ lib.optional (config.agency.units.${name}.timer != null) "${name}.timer"
    ) (lib.attrNames config.agency.units)
    ++ [ "agency-agents.slice" ];
  unitText = name: strip config.systemd.units.${name}.text;

  sampleUnits = lib.filter (name: isSample name && !lib.hasSuffix ".target" name) (
    lib.attrNames config.systemd.units
  );
  unitPath =
    name:
    if config.systemd.units.${name}.overrideStrategy == "asDropin" then
      "etc/systemd/system/${name}.d/50-agency.conf"
    else
      "etc/systemd/system/${name}";

  userLine =
    name:
    let
      user = config.users.users.${name};
    in
    "u ${name} ${toString user.uid}:${user.group} \"${user.description}\" ${
      if user.isNormalUser then user.home else "-"
    } /usr/sbin/nologin\n";
  groupLine = name: "g ${name} ${toString config.users.groups.${name}.gid}\n";
  controlUser = "agency-control";

  tmpfileLine =
    path: kinds:
    lib.concatStrings (
      lib.mapAttrsToList (kind: one: "${kind} ${path} ${one.mode} ${one.user} ${one.group} - -\n") kinds
    );
  tmpfiles = lib.concatMapAttrs (_: files: files) (
    lib.filterAttrs (name: _: lib.hasPrefix "agency-" name) config.systemd.tmpfiles.settings
  );
  tmpfileLines =
    keep:
    lib.concatStrings (lib.mapAttrsToList tmpfileLine (lib.filterAttrs (path: _: keep path) tmpfiles));

  elementLines = lib.concatStrings (
    lib.mapAttrsToList (
      set: elements:
      lib.concatMapStrings (element: "add element inet agency-agents ${set} { ${element} }\n") elements
    ) (firewall.elements (agent // { controlUid = config.agency.control.uid; }))
  );
in
{
  inherit prefix;

  # Files of every instance, by their path below /.
  files =
    lib.listToAttrs (
      map (name: lib.nameValuePair "etc/systemd/system/${name}" (unitText name)) (
        lib.filter (name: !isSample name) ownNames
      )
    )
    // {
      "etc/polkit-1/rules.d/50-agency.rules" = builtins.readFile ../control/polkit.rules;
      "usr/lib/sysusers.d/agency.conf" =
        groupLine "agents" + groupLine controlUser + userLine controlUser;
      "usr/lib/tmpfiles.d/agency.conf" = tmpfileLines (path: !isHome path);
      "etc/nftables.d/agency-agents.nft" = ''
        table inet agency-agents
        delete table inet agency-agents
        table inet agency-agents {
        ${firewall.content (lib.mapAttrs (_: _: [ ]) firewall.sets)}}
      '';
    };

  # Files of one agent. The content is a jinja2 template over `agent`; in the path, AGENT_ stands
  # for its name with underscores for dashes, and AGENT for its name.
  agentFiles = lib.mapAttrs' (path: text: lib.nameValuePair (fillPath path) (fill text)) (
    lib.listToAttrs (map (name: lib.nameValuePair (unitPath name) (unitText name)) sampleUnits)
    // {
      "usr/lib/sysusers.d/agency-${sample.name}.conf" = userLine agent.user;
      "usr/lib/tmpfiles.d/agency-${sample.name}.conf" = tmpfileLines isSample;
      "etc/nftables.d/agency-agents.d/${sample.name}.nft" = elementLines;
    }
  );
}
