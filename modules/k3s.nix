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
  token = "k3s-token";
  # The group has no other member.
  controlGroup = (import ./lib { inherit lib; }).naming.control.user;
in
{
  imports = [
    ./base.nix
    ./control
  ];

  options.agency.k3s = {
    enable = opt.service agency.services "k3s" "Kubernetes, one server that also runs the pods.";
    maxPods = opt.between 1 250 60 "Most pods at a time.";
    reserved = opt.is (types.attrsOf types.str) {
      cpu = "1";
      memory = "2Gi";
    } "What of the machine pods never get.";
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
        "--write-kubeconfig=${cfg.kubeconfig}"
        "--write-kubeconfig-mode=0440"
        "--write-kubeconfig-group=${controlGroup}"
      ];
      extraKubeletConfig = {
        inherit (cfg) maxPods;
        systemReserved = cfg.reserved;
      };
    };
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
