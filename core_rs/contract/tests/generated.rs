//! Regenerates what derives from `proto/` and compares it with what is committed.
//! `CMDOP_REGENERATE=1 cargo test -p cmdop-contract --test generated` writes it instead.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use protox::prost_reflect::{DescriptorPool, DynamicMessage, Value};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("crate lies in the repository")
}

fn protos(root: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(root.join("proto/cmdop/v1"))
        .expect("proto folder")
        .map(|entry| entry.expect("proto entry").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "proto"))
        .collect();
    files.sort();
    files
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
fn committed_messages_are_what_the_protos_generate() {
    let root = root();
    let set = protox::compile(protos(&root), [root.join("proto")]).expect("protos compile");
    let out = tempfile_dir();
    prost_build::Config::new().btree_map(["."]).out_dir(&out).compile_fds(set).expect("messages generate");
    let fresh = std::fs::read(out.join("cmdop.v1.rs")).expect("generated module");
    compare(&root.join("core_rs/contract/src/_gen/cmdop.v1.rs"), &fresh);
}

#[test]
fn committed_reason_table_is_what_the_protos_generate() {
    let root = root();
    let mut compiler = protox::Compiler::new([root.join("proto")]).expect("include path");
    compiler.include_imports(true).open_files(protos(&root)).expect("protos compile");
    let fresh = reason_table(&compiler.descriptor_pool());
    compare(&root.join("core_rs/contract/src/_gen/reasons.rs"), fresh.as_bytes());
}

fn reason_table(pool: &DescriptorPool) -> String {
    let reasons = pool.get_enum_by_name("cmdop.v1.Reason").expect("enum Reason");
    let retries = pool.get_enum_by_name("cmdop.v1.RetryClass").expect("enum RetryClass");
    let option = pool.get_extension_by_name("cmdop.v1.reason_spec").expect("option reason_spec");
    let mut out = String::from("// This file is @generated from proto/cmdop/v1/error.proto.\n&[\n");
    for value in reasons.values() {
        let options = value.options();
        let spec = options.get_extension(&option);
        let spec = spec.as_message().expect("reason_spec is a message");
        let retry = retries.get_value(number(spec, "retry")).expect("retry class exists");
        writeln!(
            out,
            "    Spec {{ reason: Reason::{}, name: \"{}\", grpc_code: {}, retry: RetryClass::{}, remedy: \"{}\", summary: {:?}, mend: {:?}, mechanical: {} }},",
            camel(value.name()), value.name().trim_start_matches("REASON_"), number(spec, "grpc_code"), camel(retry.name()), text(spec, "remedy"), text(spec, "summary"), text(spec, "mend"), flag(spec, "mechanical"),
        )
        .expect("write to a string");
    }
    out.push_str("]\n");
    out
}

fn number(message: &DynamicMessage, field: &str) -> i32 {
    match *message.get_field_by_name(field).expect("field exists") {
        Value::U32(number) => i32::try_from(number).expect("small number"),
        Value::EnumNumber(number) => number,
        ref other => panic!("{field} is {other:?}"),
    }
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).expect("text field")
}

fn flag(message: &DynamicMessage, field: &str) -> bool {
    message.get_field_by_name(field).and_then(|value| value.as_bool()).expect("boolean field")
}

/// The variant name that prost gives an enum value.
fn camel(name: &str) -> String {
    let name = ["REASON_", "RETRY_CLASS_"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    name.split('_').map(|word| word[..1].to_owned() + &word[1..].to_lowercase()).collect()
}

fn tempfile_dir() -> PathBuf {
    let dir = std::env::temp_dir().join(format!("cmdop-generated-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("temporary directory");
    dir
}
