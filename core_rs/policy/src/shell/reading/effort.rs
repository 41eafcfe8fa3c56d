//! How much work the second parser would have with a text, computed before it begins.
//!
//! It backtracks without a memory. What a `case` or a parenthesis holds is read again whenever the
//! first reading of it does not succeed, so each one around a token can double the work on it. Measured:
//! 20 openers within one another take seconds. Everything else it reads once.

use brush_parser::Token;

/// What can be read twice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opener {
    Parenthesis,
    Case,
}

/// Most work for one token: more openers only make it more hopeless.
const MAX_DOUBLINGS: usize = 40;

/// An upper bound of how often the parser looks at a token, all tokens together.
pub(super) fn of(tokens: &[Token]) -> u64 {
    let mut open: Vec<Opener> = Vec::new();
    let mut begins_command = true;
    let mut effort = 0u64;
    for (at, token) in tokens.iter().enumerate() {
        effort = effort.saturating_add(1 << open.len().min(MAX_DOUBLINGS));
        begins_command = match token {
            Token::Operator(operator, _) => {
                match operator.as_str() {
                    "(" => open.push(Opener::Parenthesis),
                    // Behind the pattern of a `case` it closes nothing.
                    ")" if open.last() == Some(&Opener::Parenthesis) => {
                        open.pop();
                    }
                    _ => {}
                }
                matches!(operator.as_str(), "\n" | ";" | ";;" | ";&" | ";;&" | "&" | ")")
            }
            Token::Word(word, _) => {
                if word == "case" && is_case(&tokens[at..]) {
                    open.push(Opener::Case);
                }
                // As an argument it closes nothing: what is taken for open too long only costs more.
                if word == "esac" && begins_command && open.last() == Some(&Opener::Case) {
                    open.pop();
                }
                begins_command && matches!(word.as_str(), "esac" | "fi" | "done" | "}")
            }
        };
    }
    effort
}

/// `case WORD in`, wherever it stands.
fn is_case(tokens: &[Token]) -> bool {
    let is_break = |token: &&Token| matches!(token, Token::Operator(operator, _) if operator == "\n");
    let mut after = tokens.iter().skip(1);
    matches!(after.next(), Some(Token::Word(..)))
        && matches!(after.find(|token| !is_break(token)), Some(Token::Word(word, _)) if word == "in")
}

#[cfg(test)]
mod tests {
    use brush_parser::{TokenizerOptions, uncached_tokenize_str};

    use super::*;

    fn effort(text: &str) -> u64 {
        of(&uncached_tokenize_str(text, &TokenizerOptions::default()).expect("tokens"))
    }

    #[test]
    fn what_stands_in_a_row_adds_up_and_what_nests_multiplies() {
        let case = "case x in a) b;; esac; ";
        assert!(effort(&case.repeat(50)) <= 100 * effort(case));
        assert!(effort(&"( a; ); ".repeat(100)) <= 150 * effort("( a; ); "));
        let nested = format!("{}b{}", "case x in a) ".repeat(10), ";; esac".repeat(10));
        assert!(effort(&nested) > 1 << 12);
        assert!(effort(&"( ".repeat(20)) > 1 << 19);
    }

    #[test]
    fn a_word_that_only_looks_like_an_end_closes_nothing() {
        for decoy in ["echo esac; ", "a=(\nesac\n); ", "x esac\n"] {
            let text = format!("case x in a) {decoy}").repeat(12);
            assert!(effort(&text) > 1 << 12, "{decoy}");
        }
        // A pattern's parenthesis does not close a subshell.
        assert!(effort(&format!("{}b", "( case x in a) ".repeat(10))) > 1 << 18);
    }
}
