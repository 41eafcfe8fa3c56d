//! Networks that a permit opens, each through a daemon to real servers on the loopback: what is named
//! is reached and measured, nothing else is, and no socket outlives the call.

#![allow(unsafe_code)]

#[path = "network/kinds.rs"]
mod kinds;
#[path = "network/names.rs"]
mod names;
#[path = "network/permits.rs"]
mod permits;
#[path = "network/races.rs"]
mod races;
#[path = "network/servers.rs"]
mod servers;
mod support;

use std::path::Path;
use std::process::ExitCode;

use cmdop_contract::v1::{EffectKind, NetworkChange, ObservedEffect, Permit, PermittedEffect, Report};
use support::cases::{self, Case};
use support::inside::{effects, is_root};

const CASES: &[Case] = &[
    ("only_what_is_permitted_is_reached_and_it_is_measured", permits::only_permitted),
    ("no_permit_opens_the_hosts_own_server", permits::own_server),
    ("a_block_of_addresses_and_ports_is_a_permit", permits::blocks),
    ("ipv6_is_permitted_by_its_own_address", permits::six),
    ("a_count_bounds_the_contacts", permits::counted),
    ("contacts_of_a_command_that_fails_or_is_stopped_are_kept", permits::failing),
    ("changes_are_committed_with_the_contacts_that_were_approved", permits::committed),
    ("a_hundred_connections_at_once_are_answered", permits::concurrent),
    ("the_end_of_a_connection_is_heard_while_the_command_runs", permits::ended),
    ("no_socket_survives_the_call", permits::nothing_survives),
    ("the_host_says_whether_it_can", permits::capability),
    ("flags_and_options_of_a_socket_stay", kinds::flags),
    ("datagrams_go_where_they_may", kinds::datagrams),
    ("messages_are_sent_whole", kinds::messages),
    ("other_kinds_of_sockets_are_closed", kinds::others),
    ("listening_reaches_nobody", kinds::listening),
    ("an_address_that_changes_meanwhile_is_never_the_one_connected_to", races::rewritten),
    ("a_descriptor_that_changes_meanwhile_reaches_nobody_else", races::swapped),
    ("a_permitted_name_is_known_and_no_other", names::localhost),
];

/// These need root to be set up.
const ROOT_CASES: &[Case] = &[
    ("a_name_is_what_the_machine_resolves_it_to", names::resolved),
    ("every_case_holds_for_an_ordinary_user_too", as_user),
];

const HELPERS: &[Case] = &[
    ("inside: permitted", permits::inside_permitted),
    ("inside: concurrent", permits::inside_concurrent),
    ("inside: ended", permits::inside_ended),
    ("inside: flags", kinds::inside_flags),
    ("inside: datagrams", kinds::inside_datagrams),
    ("inside: messages", kinds::inside_messages),
    ("inside: others", kinds::inside_others),
    ("inside: listening", kinds::inside_listening),
    ("inside: rewritten", races::inside_rewritten),
    ("inside: swapped", races::inside_swapped),
    ("inside: names", names::inside_names),
];

fn main() -> ExitCode {
    let cases: Vec<_> = if is_root() { [CASES, ROOT_CASES].concat() } else { CASES.to_vec() };
    cases::run(&cases, HELPERS)
}

fn as_user(_: &Path) {
    let failed: Vec<_> = CASES.iter().filter(|(name, _)| !cases::passes_as_user(name)).map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// The same permit with contacts besides.
fn contacting(mut permit: Permit, targets: &[String]) -> Permit {
    permit.effects.extend(targets.iter().map(|target| PermittedEffect {
        kind: EffectKind::NetConnect.into(),
        target: target.clone(),
        max_count: None,
    }));
    permit
}

/// What was contacted.
fn contacts(report: &Report) -> Vec<&ObservedEffect> {
    effects(report).iter().filter(|effect| effect.kind() == EffectKind::NetConnect).collect()
}

fn network(effect: &ObservedEffect) -> &NetworkChange {
    effect.network.as_ref().expect("a contact says whom")
}

/// Ports that were refused.
fn refused(report: &Report) -> Vec<u32> {
    report.observation.as_ref().expect("an observation").refused.iter().map(|refused| refused.port).collect()
}

/// Numbers that a test wrote down for its helper.
fn ports(directory: &Path) -> Vec<u16> {
    let text = std::fs::read_to_string(directory.join("ports")).expect("read");
    text.split_whitespace().map(|port| port.parse().expect("a port")).collect()
}

fn write_ports(directory: &Path, ports: &[u16]) {
    let text: Vec<_> = ports.iter().map(u16::to_string).collect();
    std::fs::write(directory.join("ports"), text.join(" ")).expect("write");
}
