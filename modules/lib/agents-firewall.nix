# The table that confines agents, as text. Which agent may do what is in sets, so that the rules
# are the same for every instance; `elements` says what one agent adds to each set.
{ lib }:
let
  sets = {
    agents = "typeof meta skuid";
    agent_ports = "typeof tcp dport";
    agent_servers = "typeof meta skuid . tcp sport";
    agent_clients = "typeof meta skuid . tcp dport";
    agent_loopback = "typeof meta skuid . tcp dport";
    agent_egress4 = "typeof meta skuid . ip daddr . meta l4proto . th dport; flags interval";
    agent_egress6 = "typeof meta skuid . ip6 daddr . meta l4proto . th dport; flags interval";
  };

  set =
    name: elements:
    "set ${name} { ${sets.${name}}; "
    + lib.optionalString (elements != [ ]) "elements = { ${lib.concatStringsSep ", " elements} }; "
    + "}";

  isV6 = rule: lib.hasInfix ":" rule.to;
in
{
  inherit sets;

  # agent: { uid, ports, loopback, egress, controlUid }, numbers or what stands for them.
  elements =
    agent:
    let
      uid = toString agent.uid;
      ports = map toString (lib.attrValues agent.ports);
      pair = port: "${uid} . ${port}";
      egress = rule: "${uid} . ${rule.to} . ${rule.protocol} . ${toString rule.port}";
    in
    {
      agents = [ uid ];
      agent_ports = ports;
      agent_servers = map pair ports;
      agent_clients =
        map pair ports
        ++ lib.concatMap (port: [
          "0 . ${port}"
          "${toString agent.controlUid} . ${port}"
        ]) ports;
      agent_loopback = map (port: pair (toString port)) agent.loopback;
      agent_egress4 = map egress (lib.filter (rule: !isV6 rule) agent.egress);
      agent_egress6 = map egress (lib.filter isV6 agent.egress);
    };

  mergeElements = lists: lib.mapAttrs (name: _: lib.concatMap (one: one.${name}) lists) sets;

  content = elements: ''
    ${lib.concatStringsSep "\n" (lib.mapAttrsToList (name: _: set name elements.${name}) sets)}

    chain output {
      type filter hook output priority filter; policy accept;

      # Nobody but its owner answers on an agent's port, and nobody but its owner, the control
      # plane and root opens a connection to it.
      oifname "lo" tcp sport @agent_ports tcp flags & (syn | ack) == (syn | ack) meta skuid . tcp sport != @agent_servers counter drop
      oifname "lo" tcp dport @agent_ports tcp flags & (syn | ack) == syn meta skuid . tcp dport != @agent_clients counter reject with tcp reset

      meta skuid != @agents accept

      # From here on: agents, and packets that belong to nobody. Each is judged by itself, so that
      # what a rule no longer allows ends when the rule does; no connection is remembered.
      #
      # An agent answers from its own ports and on this machine alone, and asks nobody from there.
      oifname "lo" meta skuid . tcp sport @agent_servers tcp flags & (syn | ack) != syn accept
      meta skuid . tcp sport @agent_servers tcp flags & (syn | ack) == syn counter reject with tcp reset
      # It accepts no other connection. Nor does who belongs to nobody, where an agent could listen:
      # for a listener whose queue is full the kernel answers with a SYN cookie, and not in its name.
      tcp sport >= 1024 tcp flags & (syn | ack) == (syn | ack) counter drop

      oifname "lo" tcp dport @agent_ports accept
      oifname "lo" meta skuid . tcp dport @agent_loopback accept
      meta skuid . ip daddr . meta l4proto . th dport @agent_egress4 accept
      meta skuid . ip6 daddr . meta l4proto . th dport @agent_egress6 accept
      # By name, not by default: what the kernel sends without a socket (neighbour discovery, router
      # solicitations, multicast reports) belongs to no uid, and the machine needs it.
      meta skuid @agents counter reject with icmpx admin-prohibited
    }
  '';
}
