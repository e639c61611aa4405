# An agent that works: the metering proxy, and what an agent with a program may reach.
#
# Units of agents are those of every machine, which begin nothing where no agent has a program. The
# provider is a scripted model of the run, on the guest's own loopback; the instance of the run names it.
_:
let
  key = "model-scripted-key";
in
{
  units = [ "agency-proxy.service" ];
  users = [ "agency-proxy" ];
  module =
    { ... }:
    {
      agency = {
        models = {
          enable = true;
          keys = [ key ];
        };
        # The example's instance has none, and the run's has one, which the run makes.
        secrets.${key} = {
          class = "A2";
          generator = "external";
        };
      };
    };
  adapted = [ ];
  machine."usr/lib/tmpfiles.d/agency-models.conf" = ''
    d /var/lib/agency-models 2750 agency-control agency-proxy - -
    d /var/lib/agency-models/gosuto 2750 agency-control agency-proxy - -
    d /var/lib/agency-models/tokens 2750 agency-control agency-proxy - -
  '';
  instance."etc/agency/proxy.json" = "{{ generated['proxy.json'] | default('{}') }}";
}
