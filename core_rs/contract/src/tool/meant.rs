//! The tool that was meant by a name that none has: agents come with names from elsewhere.

use crate::near;
use crate::v1::ToolContract;

/// Shortest word of which a slip is recognised: of a shorter one it is another word.
const MIN_SLIP_CHARS: usize = 4;

/// Characters of a name that are read.
const READ_CHARS: usize = 128;

/// The tool that a name means most likely: the one that shares the most words with it, of its own name or of those
/// that its contract states; of several, the one whose name is spelled most alike. None if there is no such word.
#[must_use]
pub fn meant<'a>(name: &str, tools: impl IntoIterator<Item = &'a ToolContract>) -> Option<&'a ToolContract> {
    let asked = words(name);
    let shared = |tool: &ToolContract| asked.iter().map(|word| weight(word, tool)).sum::<u32>();
    let tools: Vec<&ToolContract> = tools.into_iter().collect();
    // Where a room has several tools its name alone says nothing about what was meant to be done there.
    let is_alone = |tool: &ToolContract| tools.iter().filter(|other| room(other) == room(tool)).count() == 1;
    let says = |word: &String, tool: &ToolContract| weight(word, tool) > 0 && (!is_room(word, tool) || is_alone(tool));
    let about = tools.iter().copied().filter(|tool| asked.iter().any(|word| says(word, tool)));
    let scored: Vec<(u32, &ToolContract)> = about.map(|tool| (shared(tool), tool)).collect();
    let most = scored.iter().map(|(score, _)| *score).max().filter(|most| *most > 0)?;
    let alike = || scored.iter().filter(|(score, _)| *score == most).map(|(_, tool)| *tool);
    let nearest = near::nearest(name, alike().map(|tool| tool.name.as_str()))?;
    alike().find(|tool| tool.name == nearest)
}

/// The tool that a name can only mean: each of its words is one of that tool, and no other tool has as many of them.
#[must_use]
pub fn surely<'a>(name: &str, tools: impl IntoIterator<Item = &'a ToolContract>) -> Option<&'a ToolContract> {
    let tools: Vec<&ToolContract> = tools.into_iter().collect();
    let found = meant(name, tools.iter().copied())?;
    let asked = words(name);
    let shared = |tool: &ToolContract| asked.iter().map(|word| weight(word, tool)).sum::<u32>();
    let all: Vec<&str> = tools.iter().flat_map(|tool| own(tool)).collect();
    let is_word = |word: &String| {
        let only = all.iter().copied().find(|it| it == word || it.strip_suffix('s') == Some(word));
        let only = only.or_else(|| near::surely(word, all.iter().copied()));
        only.is_some_and(|only| own(found).any(|it| it == only))
    };
    let is_alone = tools.iter().all(|tool| tool.name == found.name || shared(tool) < shared(found));
    (is_alone && asked.iter().all(is_word)).then_some(found)
}

/// Words of a tool: those of its name and those that its contract states.
fn own(tool: &ToolContract) -> impl Iterator<Item = &str> {
    tool.name.split(['.', '_', '-']).chain(tool.words.iter().map(String::as_str))
}

/// The room that a tool is in: `files`.
fn room(tool: &ToolContract) -> &str {
    tool.name.split_once('.').map_or("", |(room, _)| room)
}

/// Is this word the name of the room that a tool is in, and none of what it does?
fn is_room(word: &str, tool: &ToolContract) -> bool {
    let (room, rest) = tool.name.split_once('.').unwrap_or(("", &tool.name));
    let is_same = |of: &str| of == word || of.strip_suffix('s') == Some(word) || word.strip_suffix('s') == Some(of);
    let does = rest.split(['.', '_', '-']).chain(tool.words.iter().map(String::as_str));
    is_same(room) && !does.into_iter().any(|it| it == word)
}

/// Words of a name, whichever way they are put together: `run_command`, `runCommand`, `run.command`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for character in name.chars().take(READ_CHARS) {
        if !character.is_alphanumeric() || (character.is_uppercase() && after_lower) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| character.is_alphanumeric()) {
            word.extend(character.to_lowercase());
        }
        after_lower = character.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What a word says for a tool. A word that is the tool's own says more than a slip of one.
fn weight(word: &str, tool: &ToolContract) -> u32 {
    let own = || own(tool);
    if own().any(|it| it == word) {
        2
    } else {
        let is_slip = word.chars().count() >= MIN_SLIP_CHARS
            && near::meant(word, own().filter(|it| it.chars().count() >= MIN_SLIP_CHARS)).is_some();
        u32::from(is_slip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::Registry;

    fn of_shipped(name: &str) -> Option<String> {
        let registry = Registry::builtin();
        meant(name, registry.list().map(|tool| tool.contract())).map(|tool| tool.name.clone())
    }

    #[test]
    fn names_from_elsewhere_mean_the_tool_that_does_it() {
        for (tool, names) in [
            (
                "terminal.exec",
                "bash shell exec run sh cmd terminal command console Bash run_command runCommand execute_bash \
                 bash_tool shell.run terminal_exec terminal.run terminal.exe run-shell-command local_shell system",
            ),
            ("files.read", "cat read read_file readFile file_read view open_file files.reed"),
            ("files.list", "ls list_files list_directory list_dir"),
            ("files.search", "grep find glob search_files"),
            ("files.write", "write write_file create_file save_file"),
            ("files.edit", "edit edit_file str_replace apply_patch"),
            ("files.delete", "rm delete delete_file remove_file unlink files.delet"),
            ("files.move", "mv rename move_file rename_file"),
            ("files.copy", "cp copy_file"),
            ("files.undo", "undo revert"),
            ("process.list", "ps list_processes"),
            ("process.signal", "kill kill_process"),
            ("service.restart", "restart restart_service service_restart"),
            ("service.logs", "journalctl logs"),
            ("deploy.rollback", "rollback deploy_rollback"),
        ] {
            for name in names.split_whitespace() {
                assert_eq!(of_shipped(name).as_deref(), Some(tool), "{name}");
            }
        }
    }

    #[test]
    fn what_a_name_says_beside_the_tool_is_not_passed_over() {
        let registry = Registry::builtin();
        let sure = |name: &str| surely(name, registry.list().map(|tool| tool.contract())).map(|tool| &*tool.name);
        for (name, tool) in [
            ("files_read", Some("files.read")),
            ("ReadFile", Some("files.read")),
            ("write_file", Some("files.write")),
            ("bash", Some("terminal.exec")),
            ("files.delet", Some("files.delete")),
            ("restart_service", Some("service.restart")),
            ("delete_if_empty", None),
            ("move_to_trash", None),
            ("service_stat", None),
            ("status", None),
            ("list", None),
        ] {
            assert_eq!(sure(name), tool, "{name}");
        }
    }

    #[test]
    fn a_name_that_says_nothing_means_no_tool() {
        for name in
            ["", "no.such", "frobnicate", "...", "\u{202e}", "send_email", "files.shred", "shred_file", "process.adopt"]
        {
            assert_eq!(of_shipped(name), None, "{name}");
        }
        assert!(meant("bash", []).is_none());
    }
}
