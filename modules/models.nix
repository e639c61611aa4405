# The way of agents to language models: one metering proxy, which alone holds the providers' keys.
{
  config,
  lib,
  ...
}:
let
  opt = import ./lib/options.nix { inherit lib; };
  agency = config.agency;
  cfg = agency.models;
  naming = (import ./lib { inherit lib; }).naming;
  facts = agency.instance.facts.models or null;
  providers = if facts == null then { } else facts.providers;
  user = "agency-proxy";
  # The control plane leaves there the digests of agents' tokens, and their policies.
  shared = "/var/lib/agency-models";
  rendered = agency.instance.directory + "/generated/proxy.json";
  # The rendered document, with what this machine decides about itself.
  configuration = builtins.toJSON (
    lib.optionalAttrs (facts != null) (builtins.fromJSON (builtins.readFile rendered))
    // {
      port = agency.ports.models;
    }
  );
in
{
  imports = [
    ./memory.nix
    ./base.nix
    ./control
  ];

  options.agency.models = {
    enable =
      opt.bool (
        facts != null
      ) "The metering proxy between agents' programs and the providers of language models."
      // opt.md "whether the instance has models";
    keys =
      opt.is (lib.types.listOf lib.types.str) (map (name: "model-${name}-key") (
        lib.attrNames (lib.filterAttrs (_: one: one.key) providers)
      )) "Secrets that are the keys of providers. Nothing else on the machine reads them."
      // opt.md "of the instance's providers";
    memoryMax = opt.str "256M" "Most memory that the proxy may use.";
  };

  config = lib.mkIf cfg.enable {
    users.users.${user} = {
      isSystemUser = true;
      description = "Metering proxy";
      uid = naming.serviceUids.proxy;
      group = user;
    };
    users.groups.${user}.gid = naming.serviceUids.proxy;

    # What is made there belongs to the proxy's group, by the set-group-id bit.
    systemd.tmpfiles.settings.agency-models =
      lib.genAttrs
        [
          shared
          "${shared}/tokens"
          "${shared}/gosuto"
        ]
        (_: {
          d = {
            user = naming.control.user;
            group = user;
            mode = "2750";
          };
        });
    agency.units.agency-control = lib.mkIf agency.control.enable {
      serviceConfig.ReadWritePaths = [ shared ];
    };

    environment.etc."agency/proxy.json".text = configuration;
    agency.units.agency-proxy = {
      description = "Metering proxy of agents' models";
      command = [
        "agent"
        "proxy"
        "--config"
        "/etc/agency/proxy.json"
      ];
      inherit user;
      group = user;
      network = "open";
      secrets = cfg.keys;
      after = [
        "network.target"
        "nftables.service"
        "agency-audit.socket"
      ];
      wants = [ "agency-audit.socket" ];
      requires = [ "nftables.service" ];
      restartTriggers = [ configuration ];
      unitConfig.StartLimitIntervalSec = 0;
      serviceConfig = {
        StateDirectory = user;
        StateDirectoryMode = "0700";
        # Puts on record in the agents' audit log what each call cost.
        SupplementaryGroups = [ naming.agents.group ];
        MemoryMax = cfg.memoryMax;
        TasksMax = 64;
        LimitNOFILE = 4096;
        Restart = "always";
      };
    };
    agency.memory.parts.proxy = cfg.memoryMax;
    # Agents send their tokens there: nobody else answers. Who may connect is in their own rules.
    agency.heldPorts.models = { inherit user; };
  };
}
