# Sandboxes: leased throwaway machines for unreviewed code. One service of the host makes them, so
# that its clients need neither Docker nor KVM; a timer ends leases.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.sandbox;
  agency = config.agency;
  inherit ((import ./lib { inherit lib; }).preview) allows;
  group = "agency-sandbox";
  socket = "/run/agency-sandbox.sock";
  configuration = {
    inherit socket;
    inherit (cfg)
      ttl
      leases
      memoryMb
      cpus
      ;
  };
  etc = "agency/sandbox.json";
  common = {
    # Root's leases are in one place, from these units and from `agency sandbox up`. Access to
    # Incus equals root, so a separate user would protect nothing.
    user = "root";
    network = "none"; # Incus answers on a socket in the file system
    serviceConfig = {
      StateDirectory = "agency-sandbox";
      StateDirectoryMode = "0700";
      # Locks of the agency's own Incus, on a machine that runs none.
      ReadWritePaths = [ "-/var/lib/agency-incus" ];
      MemoryMax = "512M";
      TasksMax = 128;
    };
    # Such an Incus is identified by its start time, to stop it after its last machine.
    relax.ProtectProc = "default";
    after = [
      "incus.service"
      "incus-preseed.service"
    ];
  };
in
{
  imports = [
    ./base.nix
    ./memory.nix
  ];

  options.agency.sandbox = {
    enable =
      opt.bool (
        agency.services.gitlab.enable or false && allows agency.preview "sandbox"
      ) "The service that makes sandboxes."
      // opt.md "whether the instance runs GitLab, and the program is there or previewed";
    expiry.enable =
      opt.bool cfg.enable "The timer that ends leases, those that root makes by hand too."
      // opt.md "whether the service runs";
    ttl =
      opt.matching "[0-9]{1,6}[smhd]" "4h"
        "After how long the sandbox of a merge request is destroyed, whoever uses it.";
    leases = opt.between 1 32 2 "Most sandboxes at a time. Further requests are refused.";
    memoryMb = opt.between 1024 65536 2048 "Memory of one sandbox, in MiB.";
    cpus = opt.between 1 64 2 "Processors of one sandbox.";
    group = opt.fixed types.str group "Group whose members may ask for a sandbox.";
    socket = opt.fixed types.str socket "Where they ask.";
  };

  config = lib.mkMerge [
    (lib.mkIf cfg.enable {
      virtualisation.incus = {
        enable = true;
        # Guests have no network but what a spin-up gives them; they need a place for their disks.
        preseed = {
          storage_pools = [
            {
              name = "default";
              driver = "dir";
            }
          ];
          profiles = [
            {
              name = "default";
              devices.root = {
                type = "disk";
                path = "/";
                pool = "default";
              };
            }
          ];
        };
      };
      agency.memory.parts.sandboxes = "${toString (cfg.leases * cfg.memoryMb)}M";
      networking.nftables.enable = true;
      users.groups.${group} = { };
      environment.etc.${etc}.text = builtins.toJSON configuration;

      agency.units.agency-sandbox = common // {
        description = "Sandboxes for code under review";
        command = [
          "sandbox"
          "serve"
          "--config"
          "/etc/${etc}"
        ];
        wants = [ "incus.service" ];
        restartTriggers = [ (builtins.toJSON configuration) ];
        socket = {
          ListenStream = socket;
          SocketGroup = group;
          SocketMode = "0660";
        };
      };
    })
    (lib.mkIf cfg.expiry.enable {
      agency.units.agency-sandbox-expire = common // {
        description = "End the leases of sandboxes that are over";
        command = [
          "sandbox"
          "expire"
        ];
        type = "oneshot";
        timer = {
          OnCalendar = "*:0/5";
          Persistent = true;
        };
        serviceConfig = common.serviceConfig // {
          TimeoutStartSec = "10min";
        };
      };
    })
  ];
}
