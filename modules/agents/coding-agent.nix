# Coding work under a contract: a task gets a branch of its own, and no way to push.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) types;
  opt = import ../lib/options.nix { inherit lib; };
  feature = import ../lib/agent-feature.nix { inherit lib; };
  agents = config.agency.agents;
  inherit ((import ../lib { inherit lib; }).naming.agents) group;
  tools = lib.makeBinPath [
    pkgs.gitMinimal
    pkgs.util-linux
  ];
  launcher =
    name:
    pkgs.runCommand "agent.coding-agent" { nativeBuildInputs = [ pkgs.makeBinaryWrapper ]; } ''
      makeBinaryWrapper ${config.agency.prefix}/bin/agency $out \
        --add-flags "workspace coding-agent run ${name}" \
        --prefix PATH : ${tools}
    '';
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
        maxReviews =
          opt.between 0 10 2
            "How often a failed review sends the work back before a person is asked.";
        maxWallTime = opt.between 60 86400 3600 "Longest piece of work, in seconds.";
        reviews =
          opt.listOf (types.nonEmptyListOf types.str) "Checks of what was committed, in order: a linter, the tests. Each is a program and its arguments."
          // {
            example = [
              [
                "make"
                "test"
              ]
            ];
          };
      };
      settings = agent: {
        inherit (agent.codingAgent)
          branchPrefix
          maxReviews
          maxWallTime
          reviews
          ;
      };
      # A machine without Nix has `agency` itself.
      extra =
        { config, enabled }:
        lib.mkIf (config.agency.platform == "nixos") {
          systemd.tmpfiles.settings.agency-coding-agent = lib.concatMapAttrs (name: agent: {
            "${agent.home}/bin".d = {
              inherit (agent) user;
              inherit group;
              mode = "0755";
            };
            "${agent.home}/bin/agent.coding-agent"."L+" = {
              inherit (agent) user;
              inherit group;
              argument = "${launcher name}";
            };
          }) enabled;
        };
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
