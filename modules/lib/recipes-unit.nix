# What the units of recipe CI have in common. One dynamic user, since they share the record of runs.
#
#   config    the machine's
#   waits     whether it is skipped, not failed, until the forge has issued the bot's token
{
  lib,
  config,
  waits ? true,
}:
let
  agency = config.agency;
  token = agency.secrets.forge-bot-token;
in
{
  serviceConfig = {
    User = "agency-recipes";
    StateDirectory = "agency-recipes";
    StateDirectoryMode = "0700";
    TasksMax = 512;
    RestartSec = "10s";
  };
  unitConfig = lib.optionalAttrs (waits && token.class == "C") {
    ConditionPathExists = token.path;
  };
  restartTriggers = [ config.environment.etc."agency/recipes.json".text ];
}
