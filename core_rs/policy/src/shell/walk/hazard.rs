//! What makes an innocent-looking command run something else.

use super::state::{Field, FieldKind};

/// What setting a variable changes, if it changes what is executed. (bash manual, "Bash Variables";
/// environment sections of ld.so(8), git(1), python(1) and others.)
pub(in crate::shell) fn variable(name: &str) -> Option<&'static str> {
    match name {
        "PATH" | "CDPATH" | "BASH_CMDS" | "BASH_ALIASES" => Some("changes which program or directory a name means"),
        "BASH_ENV"
        | "ENV"
        | "PROMPT_COMMAND"
        | "SHELLOPTS"
        | "BASHOPTS"
        | "PS0"
        | "PS1"
        | "PS2"
        | "PS4"
        | "BASH_COMPAT"
        | "POSIXLY_CORRECT"
        | "EXECIGNORE"
        | "BASH_LOADABLES_PATH"
        | "BASH_XTRACEFD" => Some("changes what the shell executes"),
        "HISTFILE" | "HISTSIZE" | "HISTFILESIZE" | "HISTCONTROL" | "HISTIGNORE" => Some("hides what was run"),
        "IFS" | "GLOBIGNORE" => Some("changes how words are split and matched"),
        "SHELL"
        | "EDITOR"
        | "VISUAL"
        | "PAGER"
        | "MANPAGER"
        | "BROWSER"
        | "LESSOPEN"
        | "LESSCLOSE"
        | "SUDO_ASKPASS"
        | "SSH_ASKPASS"
        | "RSYNC_RSH"
        | "CVS_RSH"
        | "PERL5OPT"
        | "PERL5LIB"
        | "PERL5DB"
        | "PERLLIB"
        | "RUBYOPT"
        | "RUBYLIB"
        | "NODE_OPTIONS"
        | "NODE_PATH"
        | "JAVA_TOOL_OPTIONS"
        | "_JAVA_OPTIONS"
        | "JDK_JAVA_OPTIONS"
        | "CLASSPATH"
        | "GCONV_PATH"
        | "TAR_OPTIONS"
        | "TAPE"
        | "MAKEFLAGS"
        | "GNUMAKEFLAGS"
        | "RUSTC_WRAPPER"
        | "RUSTC"
        | "CC"
        | "CXX"
        | "TERMINFO"
        | "XDG_CONFIG_HOME"
        | "HOME"
        | "CURL_HOME"
        | "WGETRC"
        | "DOCKER_HOST"
        | "KUBECONFIG"
        | "PKEXEC_UID"
        | "LESS"
        | "LESSKEY"
        | "GOFLAGS"
        | "GOROOT"
        | "GOENV"
        | "RUSTFLAGS"
        | "CPP"
        | "LD"
        | "AS"
        | "RIPGREP_CONFIG_PATH"
        | "ACK_OPTIONS"
        | "BAT_PAGER"
        | "BAT_CONFIG_PATH"
        | "OPENSSL_CONF"
        | "ANSIBLE_CONFIG"
        | "COMPILER_PATH"
        | "GCC_EXEC_PREFIX"
        | "LUA_INIT"
        | "PSQLRC"
        | "INPUTRC" => Some("changes what other programs execute or read"),
        _ if name.starts_with("LD_") || name.starts_with("DYLD_") => Some("changes which code programs load"),
        _ if name.starts_with("GIT_") => Some("changes what git executes"),
        _ if name.starts_with("PYTHON") => Some("changes what python executes"),
        _ if name.starts_with("npm_config_")
            || name.starts_with("NPM_CONFIG_")
            || name.starts_with("PIP_")
            || name.starts_with("CARGO_") =>
        {
            Some("changes what package managers execute")
        }
        _ => None,
    }
}

/// Do unknown words, however many, leave the effects of this builtin known?
pub(in crate::shell) fn tolerates_unknown(name: &str, words: &[Field]) -> bool {
    match name {
        ":" | "true" | "false" | "echo" => true,
        // `-v name[subscript]` would evaluate the subscript, so the format must be known not to be an option.
        "printf" => words.first().and_then(Field::as_literal).is_some_and(|format| !format.starts_with('-')),
        "test" | "[" => test_tolerates_unknown(name, words),
        _ => false,
    }
}

/// `test` runs code only in `-v name[subscript]` and `-R`. An unknown operand could be that operator,
/// or follow it, unless what stands before it (or, for the first, behind it) says otherwise.
fn test_tolerates_unknown(name: &str, words: &[Field]) -> bool {
    let operands = match (name, words.split_last()) {
        ("[", Some((last, rest))) if last.as_literal() == Some("]") => rest,
        ("[", _) => return false,
        _ => words,
    };
    let literal = |at: usize| operands.get(at).and_then(Field::as_literal);
    let is_binary = |text: &str| {
        matches!(
            text,
            "=" | "==" | "!=" | "<" | ">" | "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge" | "-nt" | "-ot" | "-ef"
        )
    };
    let is_unary = |text: &str| text.len() == 2 && text.starts_with('-') && !matches!(text, "-v" | "-R" | "-a" | "-o");
    operands.iter().enumerate().filter(|(_, field)| field.is_unknown()).all(|(at, field)| {
        let before = at.checked_sub(1).and_then(literal);
        field.kind == FieldKind::Unknown
            && (operands.len() == 1
                || before.is_some_and(|text| is_binary(text) || is_unary(text))
                || literal(at + 1).is_some_and(is_binary))
    })
}

/// Does a known word make a builtin evaluate a subscript, and so run what stands in it?
pub(in crate::shell) fn runs_subscript(name: &str, words: &[Field]) -> bool {
    let evaluates =
        |text: &str| text.contains('[') && (text.contains("$(") || text.contains('`') || text.contains("${"));
    match name {
        "test" | "[" => {
            let asks = words.iter().any(|field| matches!(field.text.as_str(), "-v" | "-R"));
            words.iter().any(|field| evaluates(&field.text) || (asks && field.text.contains('[')))
        }
        // `%n` sets the variable that an argument names.
        "printf" => {
            let mut operands = words.iter().skip_while(|field| field.as_literal() == Some("--"));
            operands.next().is_some_and(|format| format.as_literal().is_none_or(counts_characters))
        }
        _ => false,
    }
}

/// Does a format hold `%n`, with whatever flags, width and precision?
fn counts_characters(format: &str) -> bool {
    format.replace("%%", "").split('%').skip(1).any(|directive| {
        directive
            .trim_start_matches(|char: char| char.is_ascii_digit() || "-+ #.*'hlLjzt".contains(char))
            .starts_with('n')
    })
}
