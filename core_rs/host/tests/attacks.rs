//! Commands that try to get out of their private view, each through a daemon: every attempt fails, and
//! can be seen in the result, in the observed effects or in the refusal.

#![allow(unsafe_code)]

#[path = "attacks/channels.rs"]
mod channels;
#[path = "attacks/elsewhere.rs"]
mod elsewhere;
#[path = "attacks/escapes.rs"]
mod escapes;
#[path = "attacks/paths.rs"]
mod paths;
mod support;

use std::path::Path;
use std::process::ExitCode;

use support::cases::{self, Case};
use support::inside::is_root;

const CASES: &[Case] = &[
    ("every_path_leads_into_the_private_layer", paths::every_path),
    ("a_script_that_rewrites_itself_changes_its_copy", paths::own_script),
    ("a_hard_link_to_a_file_outside_changes_its_copy", paths::hard_link),
    ("names_with_newlines_and_invalid_text_are_measured_exactly", paths::names),
    ("a_tree_of_4000_levels_is_deleted_as_one_and_made_not_at_all", paths::deep),
    ("a_link_swapped_during_native_writes_never_leads_outside", paths::swapped),
    ("the_hosts_own_state_and_layers_are_out_of_reach", paths::own_state),
    ("system_calls_that_reach_outside_are_refused", escapes::system_calls),
    ("a_flood_of_attempts_is_counted_and_bounded", escapes::flood),
    ("no_descriptor_and_no_privilege_is_inherited", escapes::inherited),
    ("a_command_becomes_a_program_of_its_view_alone", escapes::images),
    ("a_command_begins_in_a_directory_of_its_view_alone", escapes::directories),
    ("no_core_goes_to_a_program_of_the_machine", escapes::cores),
    ("kernel_file_systems_cannot_be_written", escapes::kernel_files),
    ("devices_of_the_machine_stay_as_they_are", escapes::devices),
    ("another_process_cannot_be_reached", escapes::processes),
    ("sockets_of_outside_daemons_are_closed", channels::sockets),
    ("shared_memory_is_private", channels::shared_memory),
    ("the_network_is_an_empty_one", channels::network),
];

/// These need root to be set up.
const ROOT_CASES: &[Case] = &[
    ("a_socket_on_a_read_only_mount_is_closed", channels::read_only_mount),
    ("what_no_overlay_covers_is_read_only_and_reported", channels::uncoverable),
    ("what_is_mounted_a_second_time_stays_out_of_reach", elsewhere::by_root),
    ("what_is_mounted_a_second_time_stays_out_of_reach_of_a_user", elsewhere::by_a_user),
    ("sockets_outside_of_every_layer_are_closed_to_an_ordinary_user", channels::uncovered),
    ("every_attack_fails_for_an_ordinary_user_too", as_user),
];

const HELPERS: &[Case] = &[
    ("inside: system calls", escapes::inside_system_calls),
    ("inside: flood", escapes::inside_flood),
    ("inside: descriptors", escapes::inside_descriptors),
    ("inside: sockets", channels::inside_sockets),
    ("inside: shared memory", channels::inside_shared_memory),
    ("user: uncovered sockets", channels::user_uncovered),
    ("user: elsewhere", elsewhere::user),
    ("inside: deep", paths::inside_deep),
];

fn main() -> ExitCode {
    let cases: Vec<_> = if is_root() { [CASES, ROOT_CASES].concat() } else { CASES.to_vec() };
    cases::run(&cases, HELPERS)
}

fn as_user(_: &Path) {
    let failed: Vec<_> = CASES.iter().filter(|(name, _)| !cases::passes_as_user(name)).map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

/// What a system call said, as a line of a helper's output.
fn say(name: &str, result: libc::c_long) {
    if result < 0 {
        println!("{name}: {}", std::io::Error::last_os_error().raw_os_error().unwrap_or_default());
    } else {
        println!("{name}: DONE");
    }
}

/// Every line of a helper's output failed with an error number, and there are so many.
fn assert_all_refused(output: &str, count: usize) {
    let done: Vec<_> = output.lines().filter(|line| line.ends_with(": DONE")).collect();
    assert!(done.is_empty(), "got through: {done:?}\n{output}");
    assert_eq!(output.lines().count(), count, "{output}");
}
