# Coding work under a contract: a task gets a checkout and a branch of its own, and no way to push.
{ config, lib, ... }:
let
  opt = import ../lib/options.nix { inherit lib; };
  feature = import ../lib/agent-feature.nix { inherit lib; };
  agents = config.agency.agents;
in
{
  imports = [
    (feature {
      name = "codingAgent";
      description = "Contribute code under the coding contract.";
      options = agent: {
        branchPrefix =
          opt.matching "[a-z0-9][a-z0-9/-]*/" "${agent.user}/" "What the names of its branches begin with."
          // opt.code ''"agent-''${name}/"'';
        maxReviews = opt.between 0 10 2 "Rounds of review before a person is asked.";
      };
      units.coding = {
        description = "Coding agent of agent %i";
        command = [
          "workspace"
          "coding-agent"
          "serve"
          "%i"
        ];
        network = "loopback";
        after = [ "agency-reconcile-agent-workspaces.service" ];
        # Compilers and interpreters of the code under work map executable memory.
        relax.MemoryDenyWriteExecute = false;
        serviceConfig = {
          RuntimeDirectory = "agency-coding/%i";
          RuntimeDirectoryMode = "0700";
        };
      };
      settings = agent: { inherit (agent.codingAgent) branchPrefix maxReviews; };
    })
  ];

  config.assertions = map (name: {
    assertion = agents.${name}.codingAgent.enable -> agents.${name}.workspace.enable;
    message = ''
      agency.agents.${name}: coding needs a workspace to check code out in.
      Set agency.agents.${name}.workspace.enable, or turn codingAgent off.
    '';
  }) (lib.attrNames agents);
}
