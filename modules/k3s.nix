# Kubernetes on one node: for review apps, and for agents that outgrow this machine.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) types;
  opt = import ./lib/options.nix { inherit lib; };
  cfg = config.agency.k3s;
  agency = config.agency;
  nodePorts = {
    lowest = 32000;
    highest = 32767;
  };
  # Rounded down.
  gigas =
    text:
    let
      found = builtins.match "([0-9]+)([MG])" text;
    in
    lib.toInt (lib.head found) / (if lib.last found == "G" then 1 else 1024);
  token = "k3s-token";
  # The group has no other member.
  controlGroup = (import ./lib { inherit lib; }).naming.control.user;
in
{
  imports = [
    ./memory.nix
    ./base.nix
    ./control
  ];

  options.agency.k3s = {
    enable = opt.service agency.services "k3s" "Kubernetes, one server that also runs the pods.";
    maxPods = opt.between 1 250 60 "Most pods at a time.";
    memoryMax = opt.matching "[0-9]+G" "4G" "Most memory that all pods may use together.";
    reserved =
      opt.is (types.attrsOf types.str) {
        cpu = "1";
        memory = "${toString (gigas agency.memory.machine - gigas cfg.memoryMax)}Gi";
      } "What of the machine pods never get."
      // opt.md "one processor, and all of agency.memory.machine but memoryMax";
    kubeconfig =
      opt.fixed types.str "/etc/rancher/k3s/k3s.yaml"
        "Administrator's access to the cluster: root and the control plane can read it.";
  };

  config = lib.mkIf cfg.enable {
    services.k3s = {
      enable = true;
      role = "server";
      tokenFile = "/run/credentials/k3s.service/${token}";
      # The edge owns the ports that these two would take.
      disable = [
        "servicelb"
        "traefik"
      ];
      extraFlags = [
        "--secrets-encryption"
        # Above the ports of agents, which kube-proxy would take for itself on loopback too.
        "--service-node-port-range=${toString nodePorts.lowest}-${toString nodePorts.highest}"
        "--write-kubeconfig=${cfg.kubeconfig}"
        "--write-kubeconfig-mode=0440"
        "--write-kubeconfig-group=${controlGroup}"
      ];
      extraKubeletConfig = {
        inherit (cfg) maxPods;
        # The kubelet gives pods the rest of the machine.
        systemReserved = cfg.reserved;
      };
    };
    agency.memory.parts.pods = cfg.memoryMax;
    agency.secrets.${token}.consumers = [ "k3s.service" ];
    systemd.services.k3s.serviceConfig.LoadCredential = [ agency.secrets.${token}.credential ];

    # Pods ask the API server and the kubelet for metrics; nothing of it is reached from outside.
    networking.firewall.interfaces.cni0.allowedTCPPorts = [
      6443
      10250
    ];

    assertions = [
      {
        assertion = agency.control.enable;
        message = ''
          agency.k3s: the control plane, which alone may use the cluster, is off.
          Set services.matrix.enable in instance.yaml and run `agency render`, or turn k3s off.
        '';
      }
    ];
  };
}
