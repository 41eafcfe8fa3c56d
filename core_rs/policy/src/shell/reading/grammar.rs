//! The first parser, tree-sitter-bash: is it clean bash, and which commands does it name?

use std::cell::Cell;
use std::ops::ControlFlow;

use tree_sitter::{Language, Node, ParseOptions, ParseState, Parser, Tree};

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

/// What a node is to whoever looks for names and measures the nesting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Other,
    /// A chain in this tree only.
    List,
    Nests,
    Command,
    /// It begins with its name, which is a keyword here.
    Builtin,
    Test,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            "list" => Self::List,
            "command" => Self::Command,
            "declaration_command" | "unset_command" => Self::Builtin,
            "test_command" => Self::Test,
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
            | "parenthesized_expression" => Self::Nests,
            _ => Self::Other,
        }
    }
}

/// A parser that is kept between calls.
pub(in crate::shell) struct Grammar {
    parser: Parser,
    /// By the number of a kind: comparing names at every node costs as much as parsing.
    kinds: Vec<Kind>,
    /// The field of a command's name.
    name: u16,
}

impl Grammar {
    pub(in crate::shell) fn new() -> Self {
        let mut parser = Parser::new();
        let language: Language = tree_sitter_bash::LANGUAGE.into();
        parser.set_language(&language).expect("the grammar is built for this version of tree-sitter");
        let count = u16::try_from(language.node_kind_count()).expect("kinds are numbered by 16 bits");
        let kinds = (0..count).map(|id| language.node_kind_for_id(id).map_or(Kind::Other, Kind::of)).collect();
        let name = language.field_id_for_name("name").expect("the grammar names commands").get();
        Self { parser, kinds, name }
    }

    pub(in crate::shell) fn read(&mut self, command: &str, fuel: &Fuel) -> Seen {
        let Some(tree) = self.parse(command.as_bytes(), fuel) else {
            self.parser.reset();
            return Seen::Costly;
        };
        if tree.root_node().has_error() {
            return Seen::Unclean;
        }
        self.names(&tree, command).map_or(Seen::Deep, Seen::Clean)
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

    /// The names of all commands, or `None` if they are nested too deep.
    fn names(&self, tree: &Tree, command: &str) -> Option<Vec<String>> {
        let mut names = Vec::new();
        let mut cursor = tree.walk();
        let (mut depth, mut nesting) = (0, 0);
        loop {
            let node = cursor.node();
            let kind = self.kind(node);
            names.extend(self.name(kind, node, command));
            if cursor.goto_first_child() {
                depth += usize::from(kind != Kind::List);
                nesting += usize::from(kind == Kind::Nests);
                if depth > MAX_DEPTH || nesting > MAX_NESTING {
                    return None;
                }
                continue;
            }
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    return Some(names);
                }
                let kind = self.kind(cursor.node());
                depth -= usize::from(kind != Kind::List);
                nesting -= usize::from(kind == Kind::Nests);
            }
        }
    }

    fn kind(&self, node: Node<'_>) -> Kind {
        // What has no number here is an error, and no tree with one comes this far.
        self.kinds.get(usize::from(node.kind_id())).copied().unwrap_or(Kind::Other)
    }

    fn name(&self, kind: Kind, node: Node<'_>, command: &str) -> Option<String> {
        let text = |node: Node<'_>| command.get(node.byte_range());
        let found = match kind {
            Kind::Command => match text(node.child_by_field_id(self.name)?)? {
                // A keyword for the other parser.
                "time" => {
                    let mut cursor = node.walk();
                    node.children_by_field_name("argument", &mut cursor).filter_map(text).find(|word| *word != "-p")
                }
                name => Some(name),
            },
            Kind::Builtin => text(node.child(0)?),
            Kind::Test => text(node.child(0)?).filter(|bracket| *bracket == "["),
            Kind::Other | Kind::List | Kind::Nests => None,
        };
        found.map(str::to_owned)
    }
}
