# A key of its own, held by a key agent: the agent signs and logs in with it, and cannot read it.
{ config, lib, ... }:
let
  inherit (lib) types;
  opt = import ../lib/options.nix { inherit lib; };
  feature = import ../lib/agent-feature.nix { inherit lib; };
  agents = config.agency.agents;
in
{
  imports = [
    (feature {
      name = "ssh";
      description = "An SSH key for logging in and for signing commits.";
      options = {
        publicKey =
          opt.nullOr (types.strMatching "ssh-ed25519 [A-Za-z0-9+/=]+( .*)?") "The public half of its key."
          // {
            example = "ssh-ed25519 AAAA... agent-pm";
          };
      };
      units.ssh = {
        description = "SSH keys of agent %i";
        command = [
          "workspace"
          "ssh-agent"
          "%i"
        ];
        network = "none";
        serviceConfig = {
          RuntimeDirectory = "agency-ssh/%i";
          RuntimeDirectoryMode = "0700";
          Restart = "always";
        };
      };
      secrets = lib.genAttrs [ "ssh-key" "ssh-passphrase" ] (_: {
        units = [ "ssh" ];
      });
      settings = agent: { inherit (agent.ssh) publicKey; };
      extra =
        { enabled, ... }:
        {
          users.users = lib.mapAttrs' (
            _: agent:
            lib.nameValuePair agent.user {
              openssh.authorizedKeys.keys = lib.optional (agent.ssh.publicKey != null) agent.ssh.publicKey;
            }
          ) enabled;
        };
    })
  ];

  config.assertions = map (name: {
    assertion = agents.${name}.ssh.enable -> agents.${name}.ssh.publicKey != null;
    message = ''
      agency.agents.${name}: its SSH key has no public half here, so nobody could know its signatures.
      Set agency.agents.${name}.ssh.publicKey to the line that `agency secrets list` shows.
    '';
  }) (lib.attrNames agents);
}
