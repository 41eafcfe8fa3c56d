//! Every public function of this crate either takes what only an admitted permit or a start can make, or is
//! listed here with the reason why it may do without.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::{FnArg, ImplItem, Item, Signature, Visibility};

/// What nobody outside can make: see the examples that do not compile in `admit.rs`.
const PROOFS: [&str; 3] = ["Admitted", "Interrupted", "Start"];

/// Public functions without a proof, by the reason why each may be called.
const FREE: [(&str, &[&str]); 7] = [
    (
        "the host's own ledger: where proofs come from",
        &[
            "Interrupted::permit",
            "Keys::acknowledged",
            "Keys::admit",
            "Keys::held",
            "Keys::inquire",
            "Keys::interrupted",
            "Keys::is_held",
            "Keys::layer_dropped",
            "Keys::open",
            "Keys::report",
            "Keys::settle_interrupted",
            "Keys::since",
            "Keys::start",
            "Keys::unacknowledged",
        ],
    ),
    (
        "opens the host's own state, or answers from memory",
        &[
            "Journals::is_private",
            "Journals::open",
            "Journals::open_after",
            "Journals::private_directories",
            "Kept::is_truncated",
            "Kept::text",
            "Layer::covers",
            "Layer::dir",
            "Layer::is_direct",
            "Layer::openings",
            "Layer::masked",
            "LeftRunning::effects",
            "Native::in_fixture",
            "Native::open",
            "Native::tools",
            "Network::effects",
            "Network::is_needed",
            "Network::refused",
            "Network::unobserved",
            "Processes::looks",
            "Processes::new",
            "Processes::unobserved",
        ],
    ),
    (
        "prepares, writes or reads a private layer, and nothing beside it: only a proof lets anything run or land",
        &["Layer::create", "Layer::direct", "Layer::of_user", "commit::save", "differ::measure"],
    ),
    ("looks at files and their sizes, and keeps what it saw to itself", &["Before::compare", "Before::look"]),
    ("acts on the calling process alone, before it is a host", &["Spawner::start", "fixture::enter"]),
    ("finds out what the machine can confine, on an empty layer of its own", &["probe::probe"]),
    (
        "says what went wrong, or is the daemon itself, which admits",
        &[
            "Daemon::hello",
            "Daemon::open",
            "Daemon::run",
            "Error::by",
            "Error::fix",
            "Error::io",
            "Error::later",
            "Error::reason",
            "Error::stop",
            "Error::use_tool",
            "Error::with",
        ],
    ),
];

#[test]
fn every_public_function_takes_a_proof_or_is_known_to_need_none() {
    let mut found = BTreeMap::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let proved: Vec<_> = found.iter().filter(|(_, is_proved)| **is_proved).map(|(name, _)| name.as_str()).collect();
    for door in ["Native::apply", "Native::commit", "Native::plan", "commit::commit", "exec::run", "Journals::recover"]
    {
        assert!(proved.contains(&door), "{door} is not among what takes a proof: {proved:?}");
    }
    let free: Vec<&str> = FREE.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let unknown: Vec<_> =
        found.iter().filter(|(name, is_proved)| !**is_proved && !free.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "public, without a proof, and nobody says why: {unknown:?}");
    let gone: Vec<_> = free.iter().filter(|name| found.get(**name) != Some(&false)).collect();
    assert!(gone.is_empty(), "listed, but not found or proved by now: {gone:?}");
}

/// Every public function by name, and whether it takes a proof.
fn read(folder: &Path, found: &mut BTreeMap<String, bool>) {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("sources").map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).expect("text");
            let module = path.file_stem().expect("a name").to_string_lossy().into_owned();
            items(&syn::parse_file(&text).expect("Rust").items, &module, found);
        }
    }
}

fn items(all: &[Item], module: &str, found: &mut BTreeMap<String, bool>) {
    for item in all {
        match item {
            Item::Fn(function) if is_public(&function.vis) => {
                found.insert(format!("{module}::{}", function.sig.ident), takes_proof(&function.sig));
            }
            Item::Impl(block) if block.trait_.is_none() => {
                let syn::Type::Path(this) = &*block.self_ty else { continue };
                let this = &this.path.segments.last().expect("a type").ident;
                for method in &block.items {
                    if let ImplItem::Fn(method) = method
                        && is_public(&method.vis)
                    {
                        found.insert(format!("{this}::{}", method.sig.ident), takes_proof(&method.sig));
                    }
                }
            }
            Item::Mod(inner) => {
                if let Some((_, items_within)) = &inner.content {
                    items(items_within, module, found);
                }
            }
            _ => {}
        }
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn takes_proof(signature: &Signature) -> bool {
    signature.inputs.iter().any(|input| {
        let FnArg::Typed(argument) = input else { return false };
        let kind = match &*argument.ty {
            syn::Type::Reference(reference) => &*reference.elem,
            other => other,
        };
        matches!(kind, syn::Type::Path(kind) if kind.path.segments.last().is_some_and(
            |last| PROOFS.iter().any(|proof| last.ident == proof)))
    })
}
