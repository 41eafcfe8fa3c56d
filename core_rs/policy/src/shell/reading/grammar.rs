//! The first parser, tree-sitter-bash: is it clean bash, and which commands does it name?

use std::cell::Cell;
use std::ops::ControlFlow;

use tree_sitter::{Node, ParseOptions, ParseState, Parser, Tree};

use crate::shell::fuel::Fuel;

/// What the first parser found.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::shell) enum Seen {
    /// Names of all commands, substitutions included, in the order of the text.
    Clean(Vec<String>),
    /// It holds something that is no bash, as far as this parser knows.
    Unclean,
    /// Nested deeper than the other parser, which recurses, should follow.
    Deep,
    /// No answer for the fuel that was left.
    Costly,
}

/// Constructs within one another. The guards' estimate is lower, but can be misled.
const MAX_NESTING: usize = 20;

/// Nodes within one another, long chains of operators in `[[` and `$((` included.
const MAX_DEPTH: usize = 128;

/// Fuel for a hundred operations of the parser.
const OPERATIONS_COST: u64 = 20;

/// How much text the parser gets at a time, and the fuel for it.
const PIECE_BYTES: usize = 512;
const PIECE_COST: u64 = 6;

/// A parser that is kept between calls.
pub(in crate::shell) struct Grammar {
    parser: Parser,
}

impl Grammar {
    pub(in crate::shell) fn new() -> Self {
        let mut parser = Parser::new();
        parser
            .set_language(&tree_sitter_bash::LANGUAGE.into())
            .expect("the grammar is built for this version of tree-sitter");
        Self { parser }
    }

    pub(in crate::shell) fn read(&mut self, command: &str, fuel: &Fuel) -> Seen {
        let Some(tree) = self.parse(command.as_bytes(), fuel) else {
            self.parser.reset();
            return Seen::Costly;
        };
        if tree.root_node().has_error() {
            return Seen::Unclean;
        }
        names(&tree, command).map_or(Seen::Deep, Seen::Clean)
    }

    /// `None` if the fuel ended before the parser did.
    ///
    /// The parser reports every hundredth operation, but one operation may look ahead to the end of the text.
    /// So it gets the text in pieces, and pays for each.
    fn parse(&mut self, text: &[u8], fuel: &Fuel) -> Option<Tree> {
        let paid = Cell::new(true);
        let pay = |units| {
            paid.set(paid.get() && fuel.spend(units));
            paid.get()
        };
        let mut watch = |_: &ParseState| {
            if pay(OPERATIONS_COST) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let mut piece = |at: usize, _| {
            let end = text.len().min(at.saturating_add(PIECE_BYTES));
            // Without fuel the text ends here, so that the operation under way ends, too.
            if pay(PIECE_COST) { text.get(at..end).unwrap_or_default() } else { &[] }
        };
        let options = ParseOptions::new().progress_callback(&mut watch);
        let tree = self.parser.parse_with_options(&mut piece, None, Some(options));
        tree.filter(|_| paid.get())
    }
}

/// The names of all commands, or `None` if they are nested too deep.
fn names(tree: &Tree, command: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut cursor = tree.walk();
    let (mut depth, mut nesting) = (0, 0);
    loop {
        let node = cursor.node();
        names.extend(name(node, command));
        if cursor.goto_first_child() {
            // A list is a chain in this tree only.
            depth += usize::from(node.kind() != "list");
            nesting += usize::from(nests(node));
            if depth > MAX_DEPTH || nesting > MAX_NESTING {
                return None;
            }
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return Some(names);
            }
            depth -= usize::from(cursor.node().kind() != "list");
            nesting -= usize::from(nests(cursor.node()));
        }
    }
}

fn nests(node: Node<'_>) -> bool {
    matches!(
        node.kind(),
        "subshell"
            | "compound_statement"
            | "command_substitution"
            | "process_substitution"
            | "if_statement"
            | "for_statement"
            | "c_style_for_statement"
            | "while_statement"
            | "case_statement"
            | "function_definition"
            | "expansion"
            | "arithmetic_expansion"
            | "parenthesized_expression"
    )
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
