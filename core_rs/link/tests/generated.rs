//! Regenerates the services that derive from `proto/` and compares them with what is committed.
//! `CMDOP_REGENERATE=1 cargo test -p cmdop-link --test generated` writes them instead.

use std::path::{Path, PathBuf};

use prost::Message as _;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("crate lies in the repository")
}

fn compiler(root: &Path) -> protox::Compiler {
    let mut files: Vec<_> = std::fs::read_dir(root.join("proto/cmdop/v1"))
        .expect("proto folder")
        .map(|entry| entry.expect("proto entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "proto"))
        .collect();
    files.sort();
    let mut compiler = protox::Compiler::new([root.join("proto")]).expect("include path");
    compiler.include_imports(true);
    compiler.open_files(files).expect("protos compile");
    compiler
}

fn compare(path: &Path, fresh: &[u8]) {
    if std::env::var_os("CMDOP_REGENERATE").is_some() {
        std::fs::write(path, fresh).expect("write generated file");
        return;
    }
    let committed = std::fs::read(path).unwrap_or_default();
    assert!(committed == fresh, "{} is not what proto/ generates; run `make regenerate`", path.display());
}

#[test]
fn committed_services_are_what_the_protos_generate() {
    let root = root();
    let set = compiler(&root).include_source_info(true).file_descriptor_set();
    let out = tempfile::tempdir().expect("temporary directory");
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .codec_path("crate::codec::Codec")
        // These are sent by the thousand: their senders encode them from what the gate shares.
        .extern_path(".cmdop.v1.Call", "crate::frame::SharedCall")
        .extern_path(".cmdop.v1.ServerFrame", "crate::frame::Outgoing")
        .extern_path(".cmdop.v1", "::cmdop_contract::v1")
        .out_dir(out.path())
        .compile_fds(set)
        .expect("services generate");
    let fresh = std::fs::read(out.path().join("cmdop.v1.rs")).expect("generated module");
    compare(&root.join("core_rs/link/src/_gen/cmdop.v1.rs"), &fresh);
}

/// Without source information: reflection has no use for comments.
#[test]
fn committed_descriptors_are_what_the_protos_generate() {
    let root = root();
    let fresh = compiler(&root).file_descriptor_set().encode_to_vec();
    compare(&root.join("core_rs/link/src/_gen/descriptor.bin"), &fresh);
}
