# The agency: one Python application, every dependency from nixpkgs, in an environment of its own.
#
# The programs are those of an environment, because they start themselves and Synapse again by
# `sys.executable -m`: a Python that knows its libraries only through a wrapped script could not.
#
#   withSynapse  what `spinup_smoke --target local` runs beside our own code
#   withBrowser  Playwright's library, with which the suites of recipes drive a browser
#   source       the checkout that guests are made from; null: there is none
{
  lib,
  python3,
  makeBinaryWrapper,
  runCommand,
  age,
  coreutils,
  gitMinimal,
  matrix-synapse-unwrapped,
  openssh,
  sops,
  util-linux,
  withSynapse ? false,
  withBrowser ? false,
  source ? null,
}:
let
  root = ../..;
  inherit (builtins.fromTOML (builtins.readFile (root + "/pyproject.toml"))) project tool;
  # `name[extra]>=1` to `name`; nixpkgs names packages in the normalised form that PyPI uses.
  requirementName = requirement: builtins.head (builtins.match "([A-Za-z0-9._-]+).*" requirement);
  packageOf = requirement: python3.pkgs.${requirementName requirement};
  # All that an agency on a machine needs. The other extras are for guests, local runs and tests; an
  # extra that contains another names the package itself.
  inherit (project) optional-dependencies;
  requirements = builtins.filter (requirement: requirementName requirement != project.name) (
    project.dependencies ++ optional-dependencies.full ++ optional-dependencies.postgresql
  );

  # Data files that setuptools carries: names, and globs of the form **/*.EXTENSION.
  globs = tool.setuptools.package-data.${project.name};
  extensionOf = glob: builtins.match "\\*\\*/\\*\\.([a-z0-9]+)" glob;
  extensions = map lib.head (lib.filter (found: found != null) (map extensionOf globs));
  names = map baseNameOf (lib.filter (glob: extensionOf glob == null) globs);

  # Programs that `agency` calls, for secrets, checkouts, children with limits, other machines.
  programs = [
    age
    coreutils
    gitMinimal
    openssh
    sops
    util-linux
  ];

  module = python3.pkgs.buildPythonPackage {
    pname = project.name;
    inherit (project) version;
    pyproject = true;

    src = lib.fileset.toSource {
      inherit root;
      fileset = lib.fileset.unions [
        (root + "/pyproject.toml")
        (root + "/setup.py")
        (root + "/secrets/catalogue.json")
        (root + "/LICENSE")
        (lib.fileset.maybeMissing (root + "/README.md"))
        (lib.fileset.fileFilter (
          file: lib.any file.hasExt ([ "py" ] ++ extensions) || lib.elem file.name names
        ) (root + "/pyscripts"))
      ];
    };

    build-system = [ python3.pkgs.setuptools ];
    dependencies = map packageOf requirements ++ python3.pkgs.sqlalchemy.optional-dependencies.asyncio;

    pythonImportsCheck = [ "agency.cli" ];
  };

  environment = python3.withPackages (
    # pytest runs the suites of recipes; no other part needs it.
    packages:
    [
      module
      packages.pytest
    ]
    ++ lib.optional withBrowser packages.playwright
    ++ lib.optional withSynapse (packages.toPythonModule matrix-synapse-unwrapped)
  );
  arguments = [
    "--suffix PATH : ${lib.makeBinPath programs}"
  ]
  ++ lib.optional (source != null) "--set-default AGENCY_SOURCE ${source}";
in
runCommand "${project.name}-${project.version}"
  {
    pname = project.name;
    inherit (project) version;
    nativeBuildInputs = [ makeBinaryWrapper ];
    passthru = {
      inherit environment module programs;
      inherit (module) src;
    };
    meta = {
      inherit (project) description;
      license = lib.licenses.asl20;
      mainProgram = "agency";
      platforms = lib.platforms.linux;
    };
  }
  ''
    mkdir -p $out/bin
    for program in ${lib.concatStringsSep " " (lib.attrNames project.scripts)}; do
      makeWrapper ${environment}/bin/$program $out/bin/$program ${lib.concatStringsSep " " arguments}
    done
  ''
