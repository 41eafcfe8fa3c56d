//! Rust never calls Python: only one crate knows it, and there nothing could call it.
//!
//! A call needs a token of the interpreter, and a token comes from an entry point that Python called, or
//! from attaching a thread. Nobody attaches, so no thread of the runtime has a token. Whoever was called by
//! Python has one, but may only name the types that stand here, which hold bytes and our own objects, and
//! none of the ways in which an object of Python is called or asked.

use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

/// Every name of the bindings that the bridge may use.
const NAMES: [&str; 14] = [
    "Py",
    "PyBytes",
    "PyErr",
    "PyException",
    "PyOSError",
    "PyResult",
    "PyRuntimeError",
    "PyValueError",
    "Python",
    // Our own.
    "PythonJudge",
    "PythonPolicy",
    "PYTHON",
    "PyRef",
    "Bound",
];

/// What attaches a thread, calls an object, asks one, or goes around the bindings.
const CALLS: [&str; 27] = [
    "attach_unchecked",
    "try_attach",
    "assume_attached",
    "with_gil",
    "prepare_freethreaded_python",
    "initialize",
    "call0",
    "call1",
    "call_method",
    "call_method0",
    "call_method1",
    "getattr",
    "getattr_opt",
    "setattr",
    "delattr",
    "hasattr",
    "get_item",
    "set_item",
    "try_iter",
    "import",
    "eval",
    "py_run",
    "import_exception",
    "intern",
    "rich_compare",
    "ffi",
    "Borrowed",
];

#[test]
fn only_the_bridge_knows_python() {
    let crates = root().join("core_rs");
    let mut knowing = Vec::new();
    for entry in std::fs::read_dir(&crates).expect("crates") {
        let manifest = entry.expect("entry").path().join("Cargo.toml");
        if std::fs::read_to_string(&manifest).is_ok_and(|text| text.contains("pyo3")) {
            knowing.push(manifest);
        }
    }
    assert_eq!(knowing, [crates.join("py/Cargo.toml")]);
}

#[test]
fn nothing_in_the_bridge_could_call_python() {
    let mut files = Vec::new();
    sources(&root().join("core_rs/py/src"), &mut files);
    assert!(files.len() > 5, "the sources were not found");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("text");
        let wrong = wrong(text.parse().expect("Rust"));
        assert!(wrong.is_empty(), "{}: {wrong:?}", file.display());
    }
}

#[test]
fn what_would_call_python_is_found_wherever_it_stands() {
    for source in [
        "fn f() { Python::attach(|py| 1); }",
        "fn f() { pyo3::Python::with_gil(|py| 1) }",
        "fn f() { let attach = Python :: attach; }",
        "type Token<'a> = Python<'a>;",
        "use pyo3::Python as Token;",
        "fn f(py: Python<'_>, object: &Bound<'_, PyAny>) { object.call0() }",
        "fn f(object: Bound<'_, PyBytes>) { object.getattr(\"x\"); }",
        "fn f(py: Python<'_>) { py.import(\"os\"); }",
        "fn f(py: Python<'_>) { py.run(c\"1\", None, None); }",
        "fn f(object: Bound<'_, PyBytes>) { object.call((), None) }",
        "some_macro! { deep [ in { object.call1(()) } ] }",
        "fn f() { unsafe { pyo3::ffi::Py_IncRef(x) } }",
        "fn f(callback: Py<PyFunction>) {}",
    ] {
        assert!(!wrong(source.parse().expect("tokens")).is_empty(), "{source}");
    }
    let fine = "/// Says `call0`.\nfn f(py: Python<'_>, a: &Bound<'_, PyBytes>) -> PyResult<()> { py.detach(|| log(\"call0\")) }";
    assert_eq!(wrong(fine.parse().expect("tokens")), Vec::<String>::new());
}

/// What stands in the tokens, macros included, comments and texts not.
fn wrong(tokens: TokenStream) -> Vec<String> {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut found = Vec::new();
    for (at, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Group(group) => found.extend(wrong(group.stream())),
            TokenTree::Ident(ident) => {
                let name = ident.to_string();
                let after: String = trees[at + 1..].iter().take(2).map(ToString::to_string).collect();
                let is_python = name.starts_with("Py") || name == "Borrowed";
                // The token is the type of a parameter: not a path to what makes one, and no alias.
                let follows =
                    |wanted| at > 0 && matches!(&trees[at - 1], TokenTree::Punct(found) if found.as_char() == wanted);
                let makes_token = name == "Python" && !(follows(':') && after.starts_with('<'));
                let runs_text = name == "py" && after == ".run";
                // An attribute of Rust and many a variable are called so, too.
                let asks = ["repr", "call"].contains(&&*name) && follows('.') && after.starts_with('(');
                if asks
                    || (is_python && !NAMES.contains(&&*name))
                    || CALLS.contains(&&*name)
                    || makes_token
                    || runs_text
                {
                    found.push(format!("{name}{after}"));
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("crate lies in the repository")
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("source folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            into.push(path);
        }
    }
}
