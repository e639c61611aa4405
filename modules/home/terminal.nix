# A terminal to work in, as a module of home-manager: people import it, and agents have the same.
{
  lib,
  pkgs,
  ...
}:
{
  home.packages = [
    pkgs.fd
    pkgs.gnumake
    pkgs.jq
    pkgs.less
    pkgs.ripgrep
  ];
  programs = {
    bash.enable = lib.mkDefault true;
    git = {
      enable = lib.mkDefault true;
      settings = {
        init.defaultBranch = lib.mkDefault "main";
        pull.ff = lib.mkDefault "only";
        # An agent asks nobody; a person may say otherwise.
        core.pager = lib.mkDefault "less -FR";
      };
    };
    home-manager.enable = lib.mkDefault false;
  };
}
