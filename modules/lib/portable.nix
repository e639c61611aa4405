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
  sample = {
    name = "zzsample";
    role = "zzrole";
    uid = 29999;
    port = 31999;
  };
  foreign = import ./foreign.nix { inherit lib; };

  evaluated =
    hostModules:
    evaluate (
      [
        modules.default
        {
          nixpkgs.hostPlatform = "x86_64-linux";
          system.stateVersion = "26.05";
          agency = {
            platform = "portable";
            secretsInstaller = "agency";
            agents.${sample.name} = { inherit (sample) uid port role; };
          };
          # Paths of this distribution's own programs and data mean nothing elsewhere.
          systemd.globalEnvironment = lib.mkForce { };
        }
      ]
      ++ hostModules
    );

  # Every feature of agents, so that there is a unit for whatever one turns on.
  complete = evaluated [ ./everything.nix ];
  everything = complete.config;
  guestWith =
    more:
    (evaluated (
      [
        ../../hosts/throwaway
        # A function that writes a text is called all over NixOS, and no option stands for it.
        { _module.args.pkgs = lib.mkForce (foreign.readable complete.pkgs); }
      ]
      ++ more
    )).config;
  # What the guest runs.
  guest = guestWith [ ];

  inherit (everything.agency) prefix;
  postgresql = guest.services.postgresql;

  firewall = import ./agents-firewall.nix { inherit lib; };
  agent = everything.agency.agents.${sample.name};
  isHome = path: lib.any (one: one.home == path) (lib.attrValues everything.agency.agents);
  isSample = lib.hasInfix sample.name;
  naming = lib.importJSON ../naming.json;

  # Units of the distribution that the guest needs.
  foreignUnits = [
    "matrix-synapse.service"
    "postgresql.service"
    "postgresql-setup.service"
    "postgresql.target"
    "system-synapse.slice"
  ];
  foreignUsers = [
    "matrix-synapse"
    "postgres"
  ];
  exported = foreign.export {
    directory = "usr/lib/agency/nixos";
    packages = [
      {
        prefix = "matrix-synapse-";
        directory = prefix;
      }
      {
        prefix = "postgresql-";
        directory = "/usr/lib/postgresql/${lib.versions.major postgresql.package.version}";
      }
      {
        prefix = "nginx-";
        moved = {
          "/bin/" = "/usr/sbin/";
          "/conf/" = "/etc/nginx/";
        };
      }
      {
        prefix = "mailcap-";
        moved."/etc/" = "/etc/";
      }
      # Brought by the run.
      {
        prefix = "abra-";
        directory = "/opt/agency-recipes/abra";
      }
      # Debian names these by what they belong to.
      {
        prefix = "alertmanager-";
        moved."/bin/" = "/usr/bin/prometheus-";
      }
      {
        prefix = "process-exporter-";
        moved."/bin/" = "/usr/bin/prometheus-";
      }
      {
        prefix = "node_exporter-";
        moved."/bin/node_exporter" = "/usr/bin/prometheus-node-exporter";
      }
      {
        prefix = "blackbox_exporter-";
        moved."/bin/blackbox_exporter" = "/usr/bin/prometheus-blackbox-exporter";
      }
    ];
  };

  # What looks like a template's own signs stays as it is.
  literal =
    lib.replaceStrings
      [
        "{{"
        "{%"
        "{#"
      ]
      [
        "{{ '{{' }}"
        "{{ '{%' }}"
        "{{ '{#' }}"
      ];

  fill =
    text:
    lib.replaceStrings
      [
        "${naming.agents.slice}-${sample.name}"
        sample.name
        sample.role
        (toString sample.uid)
        (toString sample.port)
      ]
      [
        "${naming.agents.slice}-{{ agent.name | replace('-', '_') }}"
        "{{ agent.name }}"
        "{{ agent.role }}"
        "{{ agent.uid }}"
        "{{ agent.port }}"
      ]
      (literal text);

  fillPath =
    lib.replaceStrings
      [
        "${naming.agents.slice}-${sample.name}"
        sample.name
      ]
      [
        "${naming.agents.slice}-AGENT_"
        "AGENT"
      ];

  # What the instance says, in the place of what the example says.
  facts = guest.agency.instance.facts;
  generated = name: builtins.readFile (guest.agency.instance.directory + "/generated/${name}");
  registration = "matrix/registration.yaml";
  fillInstance =
    text:
    lib.replaceStrings
      [
        (literal (builtins.toJSON (generated registration)))
        ''"provider":"${facts.secrets.provider}"''
        ''"recipes":{}''
        ''"instance":"${guest.agency.name}"''
        facts.domain
      ]
      [
        "{{ generated['${registration}'] | tojson }}"
        ''"provider":{{ instance.secrets.provider | tojson }}''
        ''"recipes":{{ instance.recipes | tojson }}''
        ''"instance":{{ instance.name | tojson }}''
        "{{ instance.domain }}"
      ]
      (literal text);
  namesInstance = text: lib.hasInfix facts.domain text;

  # Lines that only NixOS's own switch reads.
  strip =
    text:
    lib.concatStringsSep "\n" (
      lib.filter (line: !lib.hasPrefix "X-" line) (lib.splitString "\n" (lib.removeSuffix "\n" text))
    )
    + "\n";

  partsOf =
    config: name:
    [ "${name}.service" ]
    ++ lib.optional (config.agency.units.${name}.socket != null) "${name}.socket"
    ++ lib.optional (config.agency.units.${name}.timer != null) "${name}.timer";
  ownNames =
    config:
    lib.concatMap (partsOf config) (lib.attrNames config.agency.units)
    ++ map (slice: "${slice}.slice") (lib.filter isOwnSlice (lib.attrNames config.systemd.slices));
  # Of one agent there is a template of its own.
  isOwnSlice = slice: lib.hasPrefix "agency-" slice && !lib.hasPrefix "${naming.agents.slice}-" slice;
  # NixOS links what is wanted itself; elsewhere a unit says it.
  install =
    unit: text:
    text
    + lib.optionalString (unit.wantedBy != [ ] && !lib.hasInfix "[Install]" text) (
      "[Install]\nWantedBy=${toString unit.wantedBy}\n"
    );
  unitTextOf =
    config: name:
    let
      unit = config.systemd.units.${name};
    in
    install unit (strip unit.text);
  unitFiles =
    config: names:
    exported (
      lib.listToAttrs (
        map (name: lib.nameValuePair "etc/systemd/system/${name}" (unitTextOf config name)) (
          lib.filter (name: !isSample name) names
        )
      )
    );
  guestUnits = unitFiles guest (ownNames guest ++ foreignUnits);

  # What a profile of a spin-up adds to the guest, apart from what every guest has.
  parts = import ./parts {
    inherit
      lib
      guest
      guestWith
      fillInstance
      namesInstance
      unitFiles
      ownNames
      userLine
      groupLine
      portElementsOf
      ;
    inherit (firewall) elementLines;
    common = ownNames guest ++ foreignUnits;
    everywhere = unitFiles everything (ownNames everything);
  };

  sampleUnits = lib.filter (name: isSample name && !lib.hasSuffix ".target" name) (
    lib.attrNames everything.systemd.units
  );
  unitPath =
    name:
    if everything.systemd.units.${name}.overrideStrategy == "asDropin" then
      "etc/systemd/system/${name}.d/50-agency.conf"
    else
      "etc/systemd/system/${name}";

  # What is started with the machine, as a switch of NixOS would start it.
  wanted = lib.unique (
    lib.concatMap (target: guest.systemd.targets.${target}.wants or [ ]) [
      "multi-user"
      "timers"
    ]
    ++ lib.filter (name: guest.systemd.units.${name}.wantedBy or [ ] != [ ]) (
      lib.filter (name: !lib.hasInfix "@" name) (ownNames guest ++ foreignUnits)
    )
  );
  ofGuest = name: lib.elem name foreignUnits || lib.hasPrefix "agency-" name;

  etc = lib.filterAttrs (path: _: lib.hasPrefix "agency/" path) guest.environment.etc;
  sampleEtc = "agency/agents/${sample.name}.json";
  instanceEtc = lib.filterAttrs (path: _: !lib.hasPrefix "agency/agents/" path) etc;

  userLine =
    config: name:
    let
      user = config.users.users.${name};
    in
    "u ${name} ${toString user.uid}:${user.group} \"${user.description}\" ${
      if user.isNormalUser || user.createHome then user.home else "-"
    } /usr/sbin/nologin\n";
  groupLine =
    config: name:
    let
      inherit (config.users.groups.${name}) gid;
    in
    "g ${name} ${if gid == null then "-" else toString gid}\n";
  controlUser = naming.control.user;

  tmpfileLine =
    path: kinds:
    lib.concatStrings (
      lib.mapAttrsToList (kind: one: "${kind} ${path} ${one.mode} ${one.user} ${one.group} - -\n") kinds
    );
  tmpfiles = lib.concatMapAttrs (_: files: files) (
    lib.filterAttrs (name: _: lib.hasPrefix "agency-" name) (
      guest.systemd.tmpfiles.settings // everything.systemd.tmpfiles.settings
    )
  );
  tmpfileLines =
    keep:
    lib.concatStrings (lib.mapAttrsToList tmpfileLine (lib.filterAttrs (path: _: keep path) tmpfiles));
  # NixOS makes the home of a user where it makes the user.
  homeLine =
    name:
    let
      user = guest.users.users.${name};
    in
    lib.optionalString user.createHome (
      tmpfileLine user.home {
        d = {
          mode = user.homeMode;
          user = name;
          inherit (user) group;
        };
      }
    );

  # The same on every machine; agents add the rest.
  portElementsOf =
    config:
    lib.filterAttrs (
      name: _: lib.hasPrefix "service_" name || lib.hasPrefix "closed_" name
    ) config.agency.firewallElements;
  portElements = portElementsOf guest;
  coredumps = guest.environment.etc."systemd/coredump.conf".text;

  elementsWith =
    more: firewall.elements (agent // { controlUid = everything.agency.control.uid; } // more);
  elementLines = firewall.elementLines (elementsWith {
    loopback = [ ];
  });
  # The sample has a program; an agent without one has none of its ways.
  programLines = ''
    {% if agent.program | default(none) -%}
    ${
      fill (firewall.elementLines { inherit (elementsWith { loopback = programPorts; }) agent_loopback; })
    }{% endif -%}
  '';
  programPorts = [
    everything.agency.ports.models
    everything.agency.ports.synapse
  ];

  agentTexts = lib.mapAttrs' (path: text: lib.nameValuePair (fillPath path) (fill text)) (
    exported (
      lib.listToAttrs (
        map (name: lib.nameValuePair (unitPath name) (unitTextOf everything name)) sampleUnits
      )
    )
    // {
      "etc/${sampleEtc}" = etc.${sampleEtc}.text;
      "usr/lib/sysusers.d/agency-${sample.name}.conf" = userLine everything agent.user;
      "usr/lib/tmpfiles.d/agency-${sample.name}.conf" = tmpfileLines isSample;
      "etc/nftables.d/agency-agents.d/${sample.name}.nft" = elementLines;
    }
  );
in
{
  inherit parts prefix;

  # Files of every instance, by their path below /.
  files =
    unitFiles everything (ownNames everything)
    // lib.filterAttrs (_: text: !namesInstance text) guestUnits
    // {
      "etc/polkit-1/rules.d/50-agency.rules" = builtins.readFile ../control/polkit.rules;
      "usr/lib/sysusers.d/agency.conf" =
        groupLine everything naming.agents.group
        + groupLine everything controlUser
        + userLine everything controlUser
        + lib.concatMapStrings (name: groupLine guest name + userLine guest name) foreignUsers;
      "usr/lib/tmpfiles.d/agency.conf" =
        tmpfileLines (path: !isHome path)
        + lib.concatMapStrings homeLine foreignUsers
        + tmpfileLine postgresql.dataDir {
          d = {
            mode = "0700";
            user = "postgres";
            group = "postgres";
          };
        };
      # An empty file masks the generator that would start Debian's own clusters at every boot.
      "etc/systemd/system-generators/postgresql-generator" = "";
      # Read by Debian's own nftables.service. It flushes nothing that is not ours.
      "etc/nftables.conf" = ''
        include "/etc/nftables.d/*.nft"
        include "/etc/nftables.d/agency-agents.d/*.nft"
      '';
      "etc/nftables.d/agency-agents.nft" = ''
        table inet agency-agents
        delete table inet agency-agents
        table inet agency-agents {
        ${firewall.content (lib.mapAttrs (name: _: portElements.${name} or [ ]) firewall.sets)}}
      '';
      "etc/systemd/coredump.conf.d/50-agency.conf" = coredumps;
    };

  # Files that follow from the instance: jinja2 templates over `instance`, which is its
  # instance.json, and `generated`, the texts of what `agency render` wrote, by name.
  instanceFiles =
    lib.mapAttrs (_: fillInstance) (
      lib.filterAttrs (_: namesInstance) guestUnits
      // lib.mapAttrs' (path: one: lib.nameValuePair "etc/${path}" one.text) instanceEtc
    )
    # Tests hold that a host that overrides nothing has the rendered document.
    // {
      "etc/agency/control.json" = "{{ generated['control.json'] }}";
    };

  # Files of one agent. The content is a jinja2 template over `agent`; in the path, AGENT_ stands
  # for its name with underscores for dashes, and AGENT for its name.
  agentFiles = lib.mapAttrs (
    path: text: text + lib.optionalString (lib.hasSuffix ".nft" path) programLines
  ) agentTexts;

  # Units to start; `agentUnits` for each agent, AGENT standing for its name.
  start = {
    # The machine's own loads the firewall.
    # A socket before its service, which would be restarted in vain.
    units =
      lib.optional guest.networking.nftables.enable "nftables.service"
      ++ lib.concatLists (
        lib.attrValues (
          lib.partition (lib.hasSuffix ".socket") (
            lib.filter (name: ofGuest name && !lib.hasInfix "@" name) wanted
          )
        )
      );
    agentUnits = map fillPath (lib.filter isSample wanted);
  };
}
