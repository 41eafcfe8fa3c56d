//! The first parser, tree-sitter-bash: is it clean bash, and which commands does it name?

use std::ops::ControlFlow;
use std::time::Instant;

use tree_sitter::{Node, ParseOptions, ParseState, Parser, Tree};

/// What the first parser found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Names of all commands, substitutions included, in the order of the text.
    Clean(Vec<String>),
    /// It holds something that is no bash, as far as this parser knows.
    Unclean,
    /// No answer in time.
    Slow,
}

/// A parser that is kept between calls.
pub(super) struct Grammar {
    parser: Parser,
}

impl Grammar {
    pub(super) fn new() -> Self {
        let mut parser = Parser::new();
        parser
            .set_language(&tree_sitter_bash::LANGUAGE.into())
            .expect("the grammar is built for this version of tree-sitter");
        Self { parser }
    }

    pub(super) fn read(&mut self, command: &str, deadline: Instant) -> Seen {
        let Some(tree) = self.parse(command.as_bytes(), deadline) else {
            self.parser.reset();
            return Seen::Slow;
        };
        if tree.root_node().has_error() {
            return Seen::Unclean;
        }
        Seen::Clean(names(&tree, command))
    }

    fn parse(&mut self, text: &[u8], deadline: Instant) -> Option<Tree> {
        let mut watch = |_: &ParseState| {
            if Instant::now() < deadline { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let options = ParseOptions::new().progress_callback(&mut watch);
        self.parser.parse_with_options(&mut |at, _| text.get(at..).unwrap_or_default(), None, Some(options))
    }
}

fn names(tree: &Tree, command: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut cursor = tree.walk();
    loop {
        if let Some(name) = name(cursor.node(), command) {
            names.push(name);
        }
        if cursor.goto_first_child() || cursor.goto_next_sibling() {
            continue;
        }
        loop {
            if !cursor.goto_parent() {
                return names;
            }
            if cursor.goto_next_sibling() {
                break;
            }
        }
    }
}

fn name(node: Node<'_>, command: &str) -> Option<String> {
    let text = |node: Node<'_>| command.get(node.byte_range()).map(str::to_owned);
    match node.kind() {
        "command" => {
            let name = node.child_by_field_name("name")?;
            // `time` is a keyword for the other parser.
            if text(name).as_deref() != Some("time") {
                return text(name);
            }
            let mut cursor = node.walk();
            node.children_by_field_name("argument", &mut cursor).filter_map(text).find(|word| word != "-p")
        }
        "declaration_command" | "unset_command" => text(node.child(0)?),
        "test_command" => text(node.child(0)?).filter(|bracket| bracket == "["),
        _ => None,
    }
}
