# The table that confines agents and keeps ports to their owners, as text. Who may do what is in
# sets, so that the rules are the same for every instance; `elements` says what one agent adds to
# each set, and `portElements` what one service's port does.
{ lib }:
let
  sets = {
    agent_ports = "typeof tcp dport";
    agent_servers = "typeof meta skuid . tcp sport";
    agent_clients = "typeof meta skuid . tcp dport";
    agent_loopback = "typeof meta skuid . tcp dport";
    agent_egress4 = "typeof meta skuid . ip daddr . meta l4proto . th dport; flags interval";
    agent_egress6 = "typeof meta skuid . ip6 daddr . meta l4proto . th dport; flags interval";
    service_ports = "typeof tcp dport";
    service_servers = "typeof meta skuid . tcp sport";
    closed_ports = "typeof tcp dport";
    closed_clients = "typeof meta skuid . tcp dport";
  };

  # Every uid that an agent may have, so that one whose agent is gone stays confined.
  uids =
    let
      inherit ((lib.importJSON ../naming.json).agents) uids;
    in
    "${toString uids.lowest}-${toString uids.highest}";

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
      agent_ports = ports;
      agent_servers = map pair ports;
      agent_clients =
        map pair ports
        ++ lib.concatMap (port: [
          "0 . ${port}"
          "${toString agent.controlUid} . ${port}"
        ]) ports;
      agent_loopback = map (port: pair (toString port)) (lib.unique agent.loopback);
      agent_egress4 = map egress (lib.filter (rule: !isV6 rule) agent.egress);
      agent_egress6 = map egress (lib.filter isV6 agent.egress);
    };

  # port: { port, servers, clients }, the uids that may answer and ask beside root; clients = null:
  # everybody whom the rules of agents let.
  portElements =
    one:
    let
      port = toString one.port;
      isClosed = one.clients != null;
      pairs = uids: map (uid: "${toString uid} . ${port}") (lib.unique ([ 0 ] ++ uids));
    in
    {
      service_ports = [ port ];
      service_servers = pairs one.servers;
      closed_ports = lib.optional isClosed port;
      closed_clients = lib.optionals isClosed (pairs one.clients);
    };

  # Elements by their sets, as lines that add them to the table that is there.
  elementLines =
    elements:
    lib.concatStrings (
      lib.mapAttrsToList (
        set: lib.concatMapStrings (element: "add element inet agency-agents ${set} { ${element} }\n")
      ) elements
    );

  mergeElements = lists: lib.mapAttrs (name: _: lib.concatMap (one: one.${name} or [ ]) lists) sets;

  content = elements: ''
    ${lib.concatStringsSep "\n" (lib.mapAttrsToList (name: _: set name elements.${name}) sets)}

    chain output {
      type filter hook output priority filter; policy accept;

      # Nobody but its owner answers on an agent's or a service's port. Not by a SYN either: to who
      # is just connecting to that port it is an answer (simultaneous open).
      oifname "lo" tcp sport @agent_ports tcp flags & syn == syn meta skuid . tcp sport != @agent_servers counter drop
      oifname "lo" tcp sport @service_ports tcp flags & syn == syn meta skuid . tcp sport != @service_servers counter drop
      # Nobody but its owner, the control plane and root opens a connection to an agent's port, and
      # to a service's that is closed only who is named.
      oifname "lo" tcp dport @agent_ports tcp flags & (syn | ack) == syn meta skuid . tcp dport != @agent_clients counter reject with tcp reset
      oifname "lo" tcp dport @closed_ports tcp flags & (syn | ack) == syn meta skuid . tcp dport != @closed_clients counter reject with tcp reset

      meta skuid != ${uids} accept

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
      # Whoever joins an IPv4 group has the kernel tell the network the group's number, in nobody's
      # name. No service here takes part in a group that routers or switches must know of.
      meta l4proto igmp counter drop
      # By name, not by default: what the kernel sends without a socket (neighbour discovery, router
      # solicitations, IPv6 multicast reports) belongs to no uid, and the machine needs it.
      meta skuid ${uids} counter reject with icmpx admin-prohibited
    }
  '';
}
